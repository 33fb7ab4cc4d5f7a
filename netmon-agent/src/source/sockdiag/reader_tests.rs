use proptest::{collection::vec, prelude::*};

use super::*;
use crate::source::{
    netlink::wire::message,
    sockdiag::decode::tests::{payload, sample},
};

const SEQUENCE: u32 = 7;

fn told(sockets: &[Socket]) -> Vec<u8> {
    sockets.iter().flat_map(|s| message(SOCK_DIAG_BY_FAMILY, 2, SEQUENCE, &payload(s, 232))).collect()
}

fn done(errno: i32) -> Vec<u8> {
    message(wire::NLMSG_DONE, 2, SEQUENCE, &errno.to_ne_bytes())
}

fn sockets(cookies: impl IntoIterator<Item = u64>) -> Vec<Socket> {
    cookies.into_iter().map(|cookie| sample(cookie, "192.0.2.1", "198.51.100.1")).collect()
}

fn visited(datagram: &[u8], dump: &mut Dump) -> (Result<Option<End>, Malformed>, Vec<Socket>) {
    let mut visited = Vec::new();
    let end = walk(datagram, SEQUENCE, dump, |socket| visited.push(*socket));
    (end, visited)
}

#[test]
fn a_datagram_with_sockets_and_the_end() {
    let all = sockets(1..=3);
    let datagram = [told(&all), done(0)].concat();
    assert_eq!(visited(&datagram, &mut Dump::default()), (Ok(Some(End::Whole)), all.clone()));
    assert_eq!(visited(&told(&all), &mut Dump::default()), (Ok(None), all));
    assert_eq!(visited(&done(-2), &mut Dump::default()).0, Ok(Some(End::Failed(ENOENT))));
}

#[test]
fn answers_to_another_question_are_passed_over() {
    let mut datagram = message(SOCK_DIAG_BY_FAMILY, 2, SEQUENCE - 1, &payload(&sockets([1])[0], 232));
    datagram.extend(message(wire::NLMSG_DONE, 2, SEQUENCE - 1, &[0; 4]));
    datagram.extend(told(&sockets([2])));
    assert_eq!(visited(&datagram, &mut Dump::default()), (Ok(None), sockets([2])));
}

#[test]
fn a_socket_told_again_after_a_break_counts_once() {
    let mut dump = Dump::default();
    assert_eq!(visited(&told(&sockets(1..=70)), &mut dump).1.len(), 70);
    // Three newcomers in the bucket: the kernel begins three places too early.
    assert_eq!(visited(&told(&sockets(68..=140)), &mut dump).1, sockets(71..=140));
    assert_eq!(dump.summary.sockets, 140);
}

#[test]
fn an_interruption_is_noticed_and_a_malformed_socket_left_out() {
    let mut dump = Dump::default();
    let mut datagram = message(SOCK_DIAG_BY_FAMILY, 2 | wire::NLM_F_DUMP_INTR, SEQUENCE, &[2, 1, 0, 0]);
    datagram.extend(told(&sockets([5])));
    assert_eq!(visited(&datagram, &mut dump), (Ok(None), sockets([5])));
    assert_eq!(dump.summary, Summary { sockets: 1, malformed: 1, interrupted: true, cost: Duration::ZERO });
}

#[test]
fn a_request_for_every_state_but_those_left_out() {
    let request = request(AF_INET6);
    assert_eq!((request[0], request[1], request[2]), (10, 6, 2));
    // All of `ss`, without syn-recv (3), time-wait (6), closed (7), listening (10) and new-syn-recv (12).
    assert_eq!(u32::from_ne_bytes(request[4..8].try_into().unwrap()), 0b1011_0011_0110);
}

#[test]
fn a_reader_goes_to_a_task_or_thread_of_its_own() {
    fn sent<T: Send>(_: T) {}
    sent(Reader::default());
}

/// Against the machine's own kernel: no privilege, no namespace.
#[test]
fn a_connection_of_our_own_is_found_once_and_a_dump_can_be_dropped() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let _pair = (std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener.accept());
    let mut reader = Reader::open().unwrap();
    reader.step(|_| {}).unwrap();
    // A dump was under way: the next one is whole all the same.
    for _ in 0..2 {
        let (mut cookies, summary) = reader.collect(Vec::new, |all, s| all.push(s.cookie)).unwrap();
        assert_eq!(summary.sockets, cookies.len() as u64);
        assert_eq!(summary.malformed, 0);
        assert!(cookies.len() >= 2, "both ends");
        cookies.sort_unstable();
        cookies.dedup();
        assert_eq!(summary.sockets, cookies.len() as u64);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..512), at in 0_usize..600, byte: u8) {
        let mut dump = Dump::default();
        let _ = visited(&bytes, &mut dump);
        let _ = decode::socket(&bytes);
        let mut datagram = told(&sockets(1..=2));
        let at = at % datagram.len();
        datagram[at] = byte;
        let (_, visited) = visited(&datagram, &mut dump);
        prop_assert!(visited.len() <= 2);
    }

    #[test]
    fn a_datagram_cut_short_tells_fewer_sockets_and_none_wrong(
        facts in vec((1_u64.., any::<[u8; 16]>(), any::<u32>(), any::<u64>()), 0..6),
        cut: prop::sample::Index,
    ) {
        let all: Vec<Socket> = facts.iter().enumerate().map(|(n, (cookie, octets, segments, bytes))| Socket {
            cookie: cookie / 8 * 8 + n as u64 + 1,
            remote: std::net::IpAddr::from(*octets).to_canonical(),
            segments_sent: Some(*segments),
            bytes_acked: Some(*bytes),
            ..sample(0, "2001:db8::1", "::")
        }).filter(|s| s.remote.is_ipv6()).collect();
        let datagram = [told(&all), done(0)].concat();
        let cut = cut.index(datagram.len() + 1);
        let (end, visited) = visited(&datagram[..cut], &mut Dump::default());
        prop_assert!(all.starts_with(&visited));
        prop_assert_eq!(end == Ok(Some(End::Whole)), cut == datagram.len());
        prop_assert!(cut % 4 == 0 || end.is_err());
    }
}
