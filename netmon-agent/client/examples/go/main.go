// netmon from Go, with nothing but the standard library: HTTP/1.1 and JSON over the agent's Unix socket.
//
//	go run main.go [STATE [TIMEOUT]]
//
// waits until the network is so (usable), then follows its changes. Exit codes are those of `netmon wait`.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
)

var agent = http.Client{Transport: &http.Transport{
	DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		path := os.Getenv("NETMON_SOCKET")
		if path == "" {
			path = "/run/netmon/netmon.sock"
		}
		return new(net.Dialer).DialContext(ctx, "unix", path)
	},
}}

type reason struct{ Code, Subject, Detail string }

type waited struct {
	Satisfied bool
	State     string
	Blocking  []reason
	Error     string
}

type change struct {
	Seq            uint64
	Subject, State string
	Reasons        []reason
}

func main() {
	query := url.Values{"state": {"usable"}}
	for i, name := range []string{"state", "timeout"} {
		if len(os.Args) > i+1 {
			query.Set(name, os.Args[i+1])
		}
	}
	answer, err := agent.Get("http://netmon/v1/wait?" + query.Encode())
	exitIf(err != nil, 69, err)
	var w waited
	err = json.NewDecoder(answer.Body).Decode(&w)
	answer.Body.Close()
	exitIf(err != nil || answer.StatusCode == http.StatusServiceUnavailable, 69, w.Error, err)
	exitIf(w.Error != "", 2, w.Error)
	exitIf(!w.Satisfied, 75, w.State, w.Blocking)
	fmt.Println(w.State)

	stream, err := agent.Get("http://netmon/v1/events")
	exitIf(err != nil, 69, err)
	defer stream.Body.Close()
	for lines := bufio.NewScanner(stream.Body); lines.Scan(); {
		var c change
		data := strings.TrimPrefix(lines.Text(), "data:")
		if data != lines.Text() && json.Unmarshal([]byte(data), &c) == nil {
			fmt.Println(c.Seq, c.Subject, c.State, c.Reasons)
		}
	}
}

func exitIf(bad bool, code int, why ...any) {
	if bad {
		fmt.Fprintln(os.Stderr, append([]any{"netmon:"}, why...)...)
		os.Exit(code)
	}
}
