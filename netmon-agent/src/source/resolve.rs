//! Names of targets become addresses, off the path of probing: a name that takes long to resolve delays no probe.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    observation::{Evidence, Observation, TargetId},
    time::Mono,
};

/// How often a name is looked up again. The system's resolver does not tell a record's own time to live.
const REFRESH: Duration = Duration::from_secs(60);

/// How soon after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Looks names up for as long as it lives, one task a name.
#[derive(Debug)]
pub struct Resolver {
    out: mpsc::Sender<Vec<Observation>>,
    tasks: HashMap<TargetId, (String, JoinHandle<()>)>,
}

impl Resolver {
    /// A resolver that reports to `out`. Must live in a tokio runtime.
    pub fn new(out: mpsc::Sender<Vec<Observation>>) -> Self {
        Self { out, tasks: HashMap::new() }
    }

    /// From now on these names, and no others. A name that is known already goes on as it was.
    pub fn set(&mut self, names: &HashMap<TargetId, String>) {
        self.tasks.retain(|id, (name, task)| {
            let keep = names.get(id) == Some(name);
            if !keep {
                task.abort();
            }
            keep
        });
        for (id, name) in names {
            let (id, out) = (*id, self.out.clone());
            self.tasks
                .entry(id)
                .or_insert_with(|| (name.clone(), tokio::spawn(keep_resolved(id, name.clone(), out))));
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.tasks.values().for_each(|(_, task)| task.abort());
    }
}

async fn keep_resolved(target: TargetId, name: String, out: mpsc::Sender<Vec<Observation>>) {
    loop {
        let (evidence, pause) = match lookup(&name).await {
            Ok(addresses) => (Evidence::Resolved { target, addresses }, REFRESH),
            Err(error) => (Evidence::ResolveFailed { target, error }, RETRY),
        };
        if out.send(vec![Observation { at: Mono::now(), evidence }]).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn lookup(name: &str) -> Result<Vec<IpAddr>, String> {
    let found = tokio::net::lookup_host((name, 0)).await.map_err(|e| e.to_string())?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map(|a| a.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.is_empty() {
        true => Err("the name has no address".to_owned()),
        false => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_resolved_and_a_bad_one_says_why() {
        let (out, mut seen) = mpsc::channel(4);
        let mut resolver = Resolver::new(out);
        resolver
            .set(&HashMap::from([(TargetId(1), "localhost".to_owned()), (TargetId(2), "a..b".to_owned())]));
        let mut evidence = Vec::new();
        while evidence.len() < 2 {
            evidence.extend(seen.recv().await.unwrap().into_iter().map(|o| o.evidence));
        }
        let resolved = |e: &Evidence| matches!(e, Evidence::Resolved { target: TargetId(1), addresses } if addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty());
        let failed = |e: &Evidence| matches!(e, Evidence::ResolveFailed { target: TargetId(2), error } if !error.is_empty());
        assert!(evidence.iter().any(resolved) && evidence.iter().any(failed), "{evidence:?}");
    }
}
