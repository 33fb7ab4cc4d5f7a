//! The retry budget of this machine, kept by the agent: what keeps a hundred jobs from storming a service that is just
//! coming back.

use std::time::Duration;

use crate::{
    Client, Error,
    http::{self, Patience},
    proto::request,
    wire::Budget,
};

/// How long the answer may take.
const ANSWER: Duration = Duration::from_secs(2);

/// What a program tells the retry budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spending {
    /// It wants to try again after a failure that may pass by itself.
    Transient,
    /// It wants to try again because it was asked to slow down, which costs less.
    Throttle,
    /// A retry succeeded: what it had cost ([`Budget::cost`]) comes back.
    Success {
        /// Tokens.
        cost: u32,
    },
}

impl Client {
    /// Asks for one retry, or gives back what a successful one had cost. A token bucket for the whole machine, fairly
    /// shared by user; without an agent there is none, and a program decides alone.
    ///
    /// ```no_run
    /// use netmon_client::{Client, Spending};
    ///
    /// let agent = Client::new(Client::default_socket());
    /// if !agent.retry_budget(Spending::Transient)?.granted {
    ///     println!("this machine retries too much already: later");
    /// }
    /// # Ok::<(), netmon_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`]; [`Error::NotFound`] when the agent is older than the budget.
    pub fn retry_budget(&self, spending: Spending) -> Result<Budget, Error> {
        let query = match spending {
            Spending::Transient => "kind=transient".to_owned(),
            Spending::Throttle => "kind=throttle".to_owned(),
            Spending::Success { cost } => format!("kind=success&cost={cost}"),
        };
        let target = format!("/v1/retry-budget?{query}");
        let request = request("POST", &target, &[("Content-Length", "0")]);
        http::ask(self.socket(), &request, Patience::of(Some(ANSWER)))?.json_of(&[200, 409])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    #[test]
    fn a_refusal_is_an_answer_and_an_older_agent_an_error() {
        let answer = |code: &str, body: &str| {
            format!("HTTP/1.1 {code}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let fake = Fake::new(vec![
            answer("200 OK", r#"{"granted":true,"cost":14,"tokens":486,"retry_after":0}"#),
            answer("409 Conflict", r#"{"granted":false,"cost":5,"tokens":3,"retry_after":2}"#),
            answer("404 Not Found", r#"{"error":"no such path"}"#),
        ]);
        let client = Client::new(fake.path());
        let granted = client.retry_budget(Spending::Transient).unwrap();
        assert_eq!(granted, Budget { granted: true, cost: 14, tokens: 486, retry_after: 0 });
        let refused = client.retry_budget(Spending::Throttle).unwrap();
        assert_eq!(refused, Budget { granted: false, cost: 5, tokens: 3, retry_after: 2 });
        let missing = client.retry_budget(Spending::Success { cost: 14 });
        assert!(matches!(missing, Err(Error::NotFound(_))));
        assert!(fake.request().starts_with("POST /v1/retry-budget?kind=transient HTTP/1.1\r\n"));
        assert!(fake.request().starts_with("POST /v1/retry-budget?kind=throttle HTTP/1.1\r\n"));
        let last = fake.request();
        assert!(last.starts_with("POST /v1/retry-budget?kind=success&cost=14 HTTP/1.1\r\n"));
        assert!(last.contains("Content-Length: 0\r\n"));
    }
}
