//! Targets that are added and removed while the agent runs.

use crate::{
    Client, Error,
    client::percent,
    http::{self, Patience},
    proto::{ANSWER, request_with},
    wire::{AddedTarget, AddedTargets, TargetChange, TargetChanged, TargetSpec},
};

/// Where they all are.
pub(crate) const PATH: &str = "/v1/targets";

pub(crate) fn put(name: &str, target: &TargetSpec) -> Result<Vec<u8>, Error> {
    let body = serde_json::to_string(target).map_err(|e| Error::Protocol(e.to_string()))?;
    Ok(request_with("PUT", &format!("{PATH}/{}", percent(name)), &body))
}

pub(crate) fn delete(name: &str) -> Vec<u8> {
    request_with("DELETE", &format!("{PATH}/{}", percent(name)), "")
}

impl Client {
    /// Adds a target while the agent runs, or changes one that was added so. The same one again changes nothing, and what
    /// is known of it stays. Without [`TargetSpec::persist`] it is gone with the agent.
    ///
    /// ```no_run
    /// use netmon_client::{Client, wire::TargetSpec};
    ///
    /// let vcenter = TargetSpec {
    ///     host: Some("vcenter.example.com".into()),
    ///     probe: Some("tcp".into()),
    ///     port: Some(443),
    ///     ..TargetSpec::default()
    /// };
    /// Client::new(Client::default_socket()).put_target("vcenter", &vcenter)?;
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`]; [`Error::BadRequest`] when something is wrong with the target, by its key;
    /// [`Error::Refused`] when this user may not, the configuration has a target of that name, there is no room, or it
    /// can't be kept; [`Error::NotFound`] when the agent is older than this.
    pub fn put_target(&self, name: &str, target: &TargetSpec) -> Result<TargetChange, Error> {
        let changed: TargetChanged =
            http::ask(self.socket(), &put(name, target)?, Patience::of(Some(ANSWER)))?.json()?;
        Ok(changed.change)
    }

    /// Removes a target that was added while the agent runs, for good.
    ///
    /// # Errors
    /// As [`Client::put_target`]; [`Error::NotFound`] when none of that name was added.
    pub fn delete_target(&self, name: &str) -> Result<(), Error> {
        http::ask(self.socket(), &delete(name), Patience::of(Some(ANSWER)))?.done()
    }

    /// The targets that were added while the agent runs, by name. All targets are in [`Client::status`].
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn added_targets(&self) -> Result<Vec<AddedTarget>, Error> {
        let all: AddedTargets = http::get(self.socket(), PATH, Patience::of(Some(ANSWER)))?.json()?;
        Ok(all.targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    #[test]
    fn what_is_asked_for_is_sent_and_a_refusal_is_told() {
        let answer = |code: &str, body: &str| {
            format!("HTTP/1.1 {code}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let fake = Fake::new(vec![
            answer("200 OK", r#"{"name":"a b","change":"added"}"#),
            answer("409 Conflict", r#"{"error":"the configuration has it"}"#),
            answer("404 Not Found", r#"{"error":"none"}"#),
            answer("200 OK", r#"{"targets":[{"name":"a","persist":true,"host":"h","port":5}]}"#),
        ]);
        let client = Client::new(fake.path());
        let target = TargetSpec { host: Some("h".into()), persist: true, ..TargetSpec::default() };
        assert_eq!(client.put_target("a b", &target).unwrap(), TargetChange::Added);
        assert!(matches!(client.put_target("b", &target), Err(Error::Refused(_))));
        assert!(matches!(client.delete_target("c/d"), Err(Error::NotFound(_))));
        let all = client.added_targets().unwrap();
        assert_eq!((all[0].name.as_str(), all[0].persist, &all[0].keys["port"]), ("a", true, &5.into()));
        let sent = fake.request();
        assert!(sent.starts_with("PUT /v1/targets/a%20b HTTP/1.1\r\n"), "{sent}");
        assert!(sent.ends_with("\r\n\r\n{\"host\":\"h\",\"persist\":true}"), "{sent}");
        assert!(sent.contains("Content-Length: 27\r\n"), "{sent}");
        fake.request();
        assert!(fake.request().starts_with("DELETE /v1/targets/c%2Fd HTTP/1.1\r\n"));
        assert!(fake.request().starts_with("GET /v1/targets HTTP/1.1\r\n"));
    }
}
