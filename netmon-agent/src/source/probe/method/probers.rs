//! Which prober serves an address: the one table of methods.
//!
//! A method is a file beside this one and a line in [`Probers::make`]; the rest of the engine knows places only.

use std::{collections::HashMap, io, net::IpAddr, rc::Rc, sync::Arc};

use nix::sys::epoll::Epoll;

use super::{
    super::{
        schedule::TargetSpec,
        sockets::{IcmpSocket, Reserve},
    },
    Prober, dns, http, icmp, tcp, udp,
};
use crate::{
    observation::{Method, PathOptions},
    packet::icmp::Family,
};

/// Probers there can be at a time.
pub(in super::super) const PLACES: usize = 1 << 12;

/// What has a prober of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// One socket for all that goes the same way.
    Icmp {
        v6: bool,
        on_link: bool,
        path: Arc<PathOptions>,
    },
    Tcp,
    Udp,
    Dns,
    Http,
}

/// The probers, each in its place.
pub(in super::super) struct Probers {
    epoll: Rc<Epoll>,
    /// For what is timed by when it is read, the kernel stamping no arrival.
    prompt: Rc<Epoll>,
    slots: Vec<Option<Box<dyn Prober>>>,
    places: HashMap<Kind, usize>,
    reserve: Reserve,
}

impl Probers {
    /// With the ICMP sockets that were opened at the start: v4 routed, v4 on-link, v6 routed, v6 on-link; and those for
    /// other ways.
    ///
    /// # Errors
    /// When a socket can't be watched.
    pub(in super::super) fn new(
        sockets: [Option<IcmpSocket>; 4],
        reserve: Reserve,
        epoll: Rc<Epoll>,
        prompt: Rc<Epoll>,
    ) -> io::Result<Self> {
        let mut new = Self { epoll, prompt, slots: Vec::new(), places: HashMap::new(), reserve };
        for (i, socket) in sockets.into_iter().enumerate() {
            let Some(socket) = socket else { continue };
            let kind = Kind::Icmp { v6: i >= 2, on_link: i % 2 == 1, path: Arc::default() };
            let place = new.slots.len();
            new.slots.push(Some(Box::new(icmp::IcmpProber::new(place, socket, new.epoll.clone())?)));
            new.places.insert(kind, place);
        }
        Ok(new)
    }

    /// The place of the prober for an address of this target, which is made if there is none yet; none when there is no
    /// socket for it, nor a port to try in ICMP's place.
    pub(in super::super) fn place(&mut self, spec: &TargetSpec, address: IpAddr) -> Option<u16> {
        let kind = match spec.method {
            Method::Icmp => match self.icmp(spec, address) {
                Some(place) => return Some(place as u16),
                None if spec.fallback_ports.is_empty() => return None,
                None => Kind::Tcp,
            },
            Method::Tcp { .. } => Kind::Tcp,
            Method::Udp { .. } => Kind::Udp,
            Method::Dns(_) => Kind::Dns,
            Method::Http(_) => Kind::Http,
        };
        self.of(kind).map(|place| place as u16)
    }

    /// The on-link prober for neighbours, where there is one. Where the system leaves no ICMP socket to its usual way,
    /// another way has none either.
    fn icmp(&mut self, spec: &TargetSpec, address: IpAddr) -> Option<usize> {
        let v6 = address.is_ipv6();
        let kind = |on_link, path: &Arc<PathOptions>| Kind::Icmp { v6, on_link, path: path.clone() };
        let plain = Arc::default();
        let routed = *self.places.get(&kind(false, &plain))?;
        if *spec.path == PathOptions::default() {
            let preferred = self.places.get(&kind(spec.on_link, &plain));
            return Some(*preferred.unwrap_or(&routed));
        }
        self.of(kind(spec.on_link, &spec.path))
    }

    fn of(&mut self, kind: Kind) -> Option<usize> {
        if let Some(place) = self.places.get(&kind) {
            return Some(*place);
        }
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if free >= PLACES {
            return None;
        }
        let prober = self.make(&kind, free);
        if free == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[free] = Some(prober);
        self.places.insert(kind, free);
        Some(free)
    }

    fn make(&mut self, kind: &Kind, place: usize) -> Box<dyn Prober> {
        let (epoll, prompt) = (self.epoll.clone(), self.prompt.clone());
        match kind {
            Kind::Icmp { v6, path, on_link } => {
                let family = if *v6 { Family::V6 } else { Family::V4 };
                let waiting = self.reserve.iter().position(|(on, way, socket)| {
                    socket.family == family && on == on_link && way == path.as_ref()
                });
                let socket = waiting.map(|at| self.reserve.swap_remove(at).2);
                Box::new(icmp::IcmpProber::on_path(place, family, path.clone(), socket, epoll))
            }
            Kind::Tcp => Box::new(tcp::TcpProber::new(place, epoll, prompt)),
            Kind::Udp => Box::new(udp::UdpProber::new(place, epoll)),
            Kind::Dns => Box::new(dns::DnsProber::new(place, epoll, prompt)),
            Kind::Http => Box::new(http::HttpProber::new(place, epoll)),
        }
    }

    /// Closes the sockets of ways that no address takes any more, and ends a thread that none needs. `used`: the places
    /// of all addresses.
    pub(in super::super) fn sweep(&mut self, used: impl Iterator<Item = u16>) {
        let mut idle: Vec<bool> = vec![true; self.slots.len()];
        used.for_each(|place| idle[usize::from(place)] = false);
        let slots = &mut self.slots;
        self.places.retain(|kind, place| {
            let gone = idle[*place]
                && match kind {
                    Kind::Icmp { path, .. } => **path != PathOptions::default(),
                    Kind::Http => true,
                    Kind::Tcp | Kind::Udp | Kind::Dns => false,
                };
            if gone {
                slots[*place] = None;
            }
            !gone
        });
    }

    /// The prober at a place.
    pub(in super::super) fn get(&mut self, place: usize) -> Option<&mut Box<dyn Prober>> {
        self.slots.get_mut(place)?.as_mut()
    }

    /// Every prober.
    pub(in super::super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Prober>> {
        self.slots.iter_mut().flatten()
    }
}
