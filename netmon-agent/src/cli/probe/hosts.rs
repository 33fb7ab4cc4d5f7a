//! Who is probed: names of the command line and of files, and their addresses.

use std::{
    fs,
    io::{self, Read},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, bail};

use super::{args::ProbeArgs, parse::Url};
use crate::observation::{Method, PathOptions};

/// The system's resolver takes one name at a time and a thread; so many are asked for at once.
const RESOLVING: usize = 32;

/// What is probed, with a name that may have many addresses.
#[derive(Debug)]
pub(super) struct Wanted {
    /// As reports have it.
    pub(super) title: String,
    /// To be resolved.
    pub(super) name: String,
    pub(super) method: Method,
}

/// Everything the command line asks for.
///
/// # Errors
/// The file can't be read, or there is nobody to probe.
pub(super) fn wanted(args: &ProbeArgs) -> anyhow::Result<Vec<Wanted>> {
    let mut names = args.hosts.clone();
    if let Some(path) = &args.file {
        let text = read(path).with_context(|| format!("{}: cannot read it", path.display()))?;
        names.extend(listed(&text));
    }
    let plain =
        |name: String, url: Option<&Url>| Wanted { title: name.clone(), name, method: args.method(url) };
    let of_url = |url: &Url| Wanted {
        title: url.text.clone(),
        name: url.request.host.clone(),
        method: args.method(Some(url)),
    };
    match (names.is_empty(), args.http.as_slice()) {
        (true, []) => bail!("no host to probe"),
        (true, urls) => Ok(urls.iter().map(of_url).collect()),
        (false, [_, _, ..]) => bail!("hosts can be asked for one URL only"),
        (false, urls) => Ok(names.into_iter().map(|name| plain(name, urls.first())).collect()),
    }
}

fn read(path: &Path) -> io::Result<String> {
    if path != Path::new("-") {
        return fs::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// The first word of each line that is no comment.
fn listed(text: &str) -> impl Iterator<Item = String> + '_ {
    let name = |line: &str| line.split('#').next()?.split_whitespace().next().map(str::to_owned);
    text.lines().filter_map(name)
}

/// Which addresses of a name are probed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    pub(super) v4: bool,
    pub(super) v6: bool,
    /// Not the first alone.
    pub(super) all: bool,
    pub(super) path: &'a PathOptions,
}

impl<'a> Choice<'a> {
    pub(super) fn new(args: &ProbeArgs, path: &'a PathOptions) -> Self {
        Self { v4: !args.ipv6, v6: !args.ipv4, all: args.all, path }
    }

    fn takes(&self, address: &SocketAddr) -> bool {
        (if address.is_ipv4() { self.v4 } else { self.v6 }) && self.path.suits(address.ip())
    }

    fn family(&self) -> &'static str {
        match (self.v4, self.v6, self.path.source) {
            (true, false, _) | (_, _, Some(IpAddr::V4(_))) => "IPv4 ",
            (false, true, _) | (_, _, Some(IpAddr::V6(_))) => "IPv6 ",
            _ => "",
        }
    }
}

/// The addresses of each name, in their order. The system's resolver puts those first that can be reached best.
pub(super) fn resolve(names: &[Wanted], choice: Choice<'_>) -> Vec<anyhow::Result<Vec<SocketAddr>>> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::with_capacity(names.len()));
    let work = || {
        while let Some((i, wanted)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, names.get(i)?)))
        {
            let addresses = lookup(&wanted.name, choice);
            found.lock().unwrap_or_else(PoisonError::into_inner).push((i, addresses));
        }
    };
    let helpers = names.iter().filter(|w| w.name.parse::<IpAddr>().is_err()).count().min(RESOLVING);
    thread::scope(|scope| {
        for _ in 1..helpers {
            scope.spawn(work);
        }
        work();
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable_by_key(|(i, _)| *i);
    found.into_iter().map(|(_, addresses)| addresses).collect()
}

/// The first address of a name, of the one family if any is asked for.
///
/// # Errors
/// When there is none.
pub(in crate::cli) fn address_of(name: &str, ipv4: bool, ipv6: bool) -> anyhow::Result<SocketAddr> {
    let path = PathOptions::default();
    let found = lookup(name, Choice { v4: !ipv6, v6: !ipv4, all: false, path: &path })?;
    found.first().copied().context("no address")
}

fn lookup(name: &str, choice: Choice<'_>) -> anyhow::Result<Vec<SocketAddr>> {
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    let mut addresses: Vec<SocketAddr> = match bare.parse::<IpAddr>() {
        Ok(address) => vec![(address, 0).into()],
        Err(_) => (bare, 0).to_socket_addrs().context("cannot resolve")?.collect(),
    };
    addresses.retain(|a| choice.takes(a));
    let mut seen = Vec::new();
    addresses.retain(|a| {
        !seen.contains(a) && {
            seen.push(*a);
            true
        }
    });
    if !choice.all {
        addresses.truncate(1);
    }
    if addresses.is_empty() {
        bail!("no {}address", choice.family());
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::{super::args::tests::parse, *};

    fn found(name: &str, line: &str) -> anyhow::Result<Vec<SocketAddr>> {
        let args = parse(line).unwrap();
        let path = args.path().unwrap();
        lookup(name, Choice::new(&args, &path))
    }

    #[test]
    fn a_family_is_kept_to() {
        assert!(found("127.0.0.1", "h -6").unwrap_err().to_string().contains("IPv6"));
        assert!(found("::1", "h -4").is_err());
        assert!(found("::1", "h -I 127.0.0.1").unwrap_err().to_string().contains("IPv4"));
        assert_eq!(found("[::1]", "h").unwrap(), ["[::1]:0".parse().unwrap()]);
        assert_eq!(found("::1", "h -I ::1 -m").unwrap().len(), 1);
    }

    #[test]
    fn a_list_has_a_name_a_line() {
        let text = "a\n\n# nobody\n  b  the second\nc# the third\n10.0.0.1\r\n";
        assert_eq!(listed(text).collect::<Vec<_>>(), ["a", "b", "c", "10.0.0.1"]);
    }

    #[test]
    fn a_url_names_its_host_or_is_asked_of_others() {
        let all = |line: &str| -> Vec<(String, String)> {
            wanted(&parse(line).unwrap()).unwrap().into_iter().map(|w| (w.title, w.name)).collect()
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            all("--http https://a/x --http http://b"),
            [pair("https://a/x", "a"), pair("http://b", "b")]
        );
        assert_eq!(all("10.0.0.1 10.0.0.2 --http https://a/x")[1], pair("10.0.0.2", "10.0.0.2"));
        assert!(wanted(&parse("h --http https://a --http https://b").unwrap()).is_err());
    }

    #[test]
    fn many_are_resolved_in_their_order() {
        let names: Vec<Wanted> = (0..1000)
            .map(|i| {
                // Every other is no address, and no name.
                let name =
                    if i % 2 == 0 { format!("10.0.{}.{}", i / 250, i % 250) } else { "a..b".to_owned() };
                Wanted { title: String::new(), name, method: Method::Icmp }
            })
            .collect();
        let path = PathOptions::default();
        let choice = Choice { v4: true, v6: true, all: false, path: &path };
        let addresses = resolve(&names, choice);
        assert_eq!(addresses.len(), 1000);
        for (wanted, found) in names.iter().zip(addresses) {
            match wanted.name.parse::<IpAddr>() {
                Ok(address) => assert_eq!(found.unwrap()[0].ip(), address),
                Err(_) => assert!(found.is_err()),
            }
        }
    }
}
