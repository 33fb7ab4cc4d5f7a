//! A DNS server of the tests' own, on loopback: it answers what it is told to.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{CNAME, SRV},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
};

/// What a question is answered with.
#[derive(Clone)]
pub(in crate::source) enum Reply {
    /// These records, each with its time to live.
    Records(Vec<Record>),
    /// No record and this code; NOERROR is a name without an address.
    Code(ResponseCode),
    Silence,
    /// By UDP that it does not fit, by TCP these.
    Large(Vec<Record>),
}

type Zone = HashMap<(String, RecordType), Reply>;

/// Ends with it.
pub(in crate::source) struct Server {
    pub(in crate::source) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<Vec<(String, RecordType)>>>,
    _tasks: JoinSet<()>,
}

pub(in crate::source) fn address(name: &str, ttl: u32, address: &str) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, RData::from(address.parse::<IpAddr>().unwrap()))
}

pub(in crate::source) fn alias(name: &str, ttl: u32, other: &str) -> Record {
    let other = Name::from_ascii(other).unwrap();
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, RData::CNAME(CNAME(other)))
}

pub(in crate::source) fn service(name: &str, ttl: u32, host: &str, port: u16) -> Record {
    let host = Name::from_ascii(host).unwrap();
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, RData::SRV(SRV::new(0, 0, port, host)))
}

impl Server {
    pub(in crate::source) async fn start(at: &str) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind(at).await.unwrap();
            // The same port may be taken for TCP.
            match TcpListener::bind(udp.local_addr().unwrap()).await {
                Ok(tcp) => break (udp, tcp),
                Err(e) if at.ends_with(":0") => drop(e),
                Err(e) => panic!("{at}: {e}"),
            }
        };
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let asked: Arc<Mutex<Vec<_>>> = Arc::default();
        let address = udp.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let (z, a) = (Arc::clone(&zone), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((n, peer)) = udp.recv_from(&mut buffer).await {
                if let Some(reply) = answer(&buffer[..n], &z, &a, false) {
                    udp.send_to(&reply, peer).await.unwrap();
                }
            }
        });
        let (z, a) = (Arc::clone(&zone), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = tcp.accept().await {
                open.spawn(by_tcp(stream, Arc::clone(&z), Arc::clone(&a)));
            }
        });
        Self { address, zone, asked, _tasks: tasks }
    }

    pub(in crate::source) fn set(&self, name: &str, family: RecordType, reply: Reply) {
        self.zone.lock().unwrap().insert((name.to_owned(), family), reply);
    }

    /// Addresses of both families, a minute to live.
    pub(in crate::source) fn addresses(&self, name: &str, addresses: &[&str]) {
        for family in [RecordType::A, RecordType::AAAA] {
            let of = |a: &&&str| a.contains(':') == (family == RecordType::AAAA);
            let records: Vec<Record> = addresses.iter().filter(of).map(|a| address(name, 60, a)).collect();
            let none = Reply::Code(ResponseCode::NoError);
            self.set(name, family, if records.is_empty() { none } else { Reply::Records(records) });
        }
    }

    /// The same to both questions.
    pub(in crate::source) fn both(&self, name: &str, reply: &Reply) {
        self.set(name, RecordType::A, reply.clone());
        self.set(name, RecordType::AAAA, reply.clone());
    }

    /// The names asked for so far, IPv4 addresses; one that is asked for again and again stands once.
    pub(in crate::source) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let mut names: Vec<String> =
            asked.iter().filter(|(_, f)| *f == RecordType::A).map(|(n, _)| n.clone()).collect();
        names.dedup();
        names
    }

    pub(in crate::source) fn questions(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn by_tcp(mut stream: TcpStream, zone: Arc<Mutex<Zone>>, asked: Arc<Mutex<Vec<(String, RecordType)>>>) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await.unwrap();
        if let Some(reply) = answer(&query, &zone, &asked, true) {
            stream.write_u16(reply.len() as u16).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    }
}

fn answer(
    query: &[u8],
    zone: &Mutex<Zone>,
    asked: &Mutex<Vec<(String, RecordType)>>,
    tcp: bool,
) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let key = (question.name().to_ascii(), question.query_type());
    asked.lock().unwrap().push(key.clone());
    let reply = zone.lock().unwrap().get(&key).cloned().unwrap_or(Reply::Code(ResponseCode::NXDomain));
    let mut message = Message::response(query.id, OpCode::Query);
    message.metadata.recursion_available = true;
    message.add_query(question);
    match reply {
        Reply::Silence => return None,
        Reply::Code(code) => message.metadata.response_code = code,
        Reply::Large(_) if !tcp => message.metadata.truncation = true,
        Reply::Records(records) | Reply::Large(records) => drop(message.add_answers(records)),
    }
    Some(message.to_vec().unwrap())
}
