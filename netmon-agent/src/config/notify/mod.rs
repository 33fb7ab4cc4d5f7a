//! `[notify]`: who is told of changes, by a command or a webhook.

mod file;
mod show;

use std::{collections::HashMap, net::IpAddr, ops::Range, path::Path, path::PathBuf, time::Duration};

use http::HeaderValue;
use rustls::pki_types::ServerName;
use serde::de::IgnoredAny;

pub(super) use self::{
    file::{Command, Hooked, Notify},
    show::of_notifiers,
};
use super::{
    error::Fault,
    span::Span,
    spanned::Spanned,
    validate::{MAX_NAME, within},
};
use crate::{
    health::State,
    observation::HttpRequest,
    output::notify::{
        Hook, Means, Notifier, Rule, States, Subjects, Webhook,
        template::{Field, Template, Words},
        webhook::{
            Secret,
            address::{Allowed, network},
        },
    },
};

/// Notifiers that there may be.
const MOST: usize = 64;
/// Notices that wait for each by default.
const ROOM: usize = 100;
/// What a command may take by default, and what an attempt of a webhook.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// For so long a delivery is tried by default.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// What a command and a webhook have in common.
struct Common<'a> {
    name: &'a Option<Spanned<String>>,
    subjects: &'a Option<Spanned<Vec<Spanned<String>>>>,
    states: &'a Option<Spanned<Vec<Spanned<String>>>>,
    after: &'a Option<Spanned<Span>>,
    initial: Option<bool>,
    queue: &'a Option<Spanned<usize>>,
}

macro_rules! common {
    ($table:expr) => {
        Common {
            name: &$table.name,
            subjects: &$table.subjects,
            states: &$table.states,
            after: &$table.after,
            initial: $table.initial,
            queue: &$table.queue,
        }
    };
}

pub(super) fn notifiers(n: &Notify) -> Result<Vec<Notifier>, Fault> {
    let (commands, webhooks) = (&n.command.0, &n.webhook.0);
    let places = commands.iter().map(|c| c.command.span()).chain(webhooks.iter().map(|h| h.url.span()));
    if let Some(place) = places.into_iter().nth(MOST) {
        let count = commands.len() + webhooks.len();
        return Err(Fault::at(place, format!("{count} commands and webhooks are more than {MOST}")));
    }
    let mut names = HashMap::new();
    let mut all = Vec::new();
    for table in commands {
        let hook = hook(table)?;
        let usual = Path::new(&hook.program).file_name().map(|n| n.to_string_lossy().into_owned());
        let place = table.command.span();
        let usual = Spanned::new(place, usual.unwrap_or_default());
        all.push(common!(table).notifier(&usual, Means::Command(hook), &mut names)?);
    }
    for table in webhooks {
        let webhook = webhook(table)?;
        let usual = Spanned::new(table.url.span(), webhook.url.host.clone());
        all.push(common!(table).notifier(&usual, Means::Webhook(Box::new(webhook)), &mut names)?);
    }
    Ok(all)
}

impl Common<'_> {
    fn notifier(
        &self,
        usual: &Spanned<String>,
        means: Means,
        names: &mut HashMap<String, Range<usize>>,
    ) -> Result<Notifier, Fault> {
        let name = self.name.as_ref().unwrap_or(usual);
        let text = name.get_ref();
        if text.is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
            let what = format!("a notifier's name has 1 to {MAX_NAME} bytes and no control characters");
            return Err(Fault::at(name.span(), what).hint("give it a `name` of its own"));
        }
        if let Some(first) = names.insert(text.clone(), name.span()) {
            let message = format!("notifier \"{}\" is there twice", text.escape_debug());
            return Err(Fault::at(name.span(), message)
                .see(first, "the first is in")
                .hint("give each a `name` of its own"));
        }
        let room = match self.queue {
            Some(n) if !(1..=10_000).contains(n.get_ref()) => {
                return Err(Fault::at(
                    n.span(),
                    format!("queue is between 1 and 10000, not {}", n.get_ref()),
                ));
            }
            Some(n) => *n.get_ref(),
            None => ROOM,
        };
        Ok(Notifier { name: text.clone(), rule: self.rule()?, room, means })
    }

    fn rule(&self) -> Result<Rule, Fault> {
        let words = match self.subjects {
            Some(all) if all.get_ref().is_empty() => {
                return Err(Fault::at(all.span(), "it would be told of nobody")
                    .hint("leave `subjects` out for the network as a whole"));
            }
            Some(all) => all.get_ref().as_slice(),
            None => &[],
        };
        let texts: Vec<String> = match words {
            [] => vec!["network".to_owned()],
            words => words.iter().map(|w| w.get_ref().clone()).collect(),
        };
        let subjects = Subjects::parse(&texts).map_err(|(at, why)| {
            let span = words.get(at).map(Spanned::span);
            let hint = "such as \"network\", \"device:eth*\" or \"target:*\"";
            Fault::of(span, why.to_string(), hint)
        })?;
        let states = match self.states {
            None => States::of([State::Up, State::Degraded, State::Down]),
            Some(all) if all.get_ref().is_empty() => {
                return Err(Fault::at(all.span(), "it would be told of no state").hint("leave `states` out"));
            }
            Some(all) => States::of(all.get_ref().iter().map(state).collect::<Result<Vec<_>, _>>()?),
        };
        let day = Duration::from_secs(86_400);
        let after =
            self.after.as_ref().map_or(Ok(Duration::ZERO), |a| within(a, Duration::ZERO..=day, "after"))?;
        Ok(Rule { subjects, states, after, initial: self.initial.unwrap_or(true) })
    }
}

fn state(word: &Spanned<String>) -> Result<State, Fault> {
    State::ALL.into_iter().find(|s| s.as_str() == word.get_ref()).ok_or_else(|| {
        Fault::at(word.span(), format!("\"{}\" is no state", word.get_ref().escape_default()))
            .hint("known: \"up\", \"degraded\", \"down\", \"unknown\"")
    })
}

fn template(text: &Spanned<String>) -> Result<Template, Fault> {
    Template::parse(text.get_ref()).map_err(|unknown| {
        let known: Vec<&str> = Field::ALL.iter().map(|f| f.as_str()).collect();
        let literal = &unknown.name;
        Fault::at(text.span(), unknown.to_string())
            .hint(format!("known: {}; {{{{{literal}}}}} is the text itself", known.join(", ")))
    })
}

fn hook(c: &Command) -> Result<Hook, Fault> {
    let words = c.command.get_ref();
    let Some((program, arguments)) = words.split_first().filter(|(p, _)| !p.get_ref().is_empty()) else {
        return Err(Fault::at(c.command.span(), "there is no program in it").hint(
            "a program and its arguments: command = [\"/usr/local/bin/tell\", \"{subject}\", \"{state}\"]",
        ));
    };
    let text = program.get_ref();
    if text.contains('\0') || text.contains('/') && !text.starts_with('/') {
        return Err(Fault::at(program.span(), "a program is a name, or a path from the root")
            .hint("write the whole path: it runs in /"));
    }
    let limits = Duration::from_secs(1)..=Duration::from_secs(3600);
    Ok(Hook {
        program: text.clone(),
        arguments: arguments.iter().map(template).collect::<Result<_, _>>()?,
        timeout: c.timeout.as_ref().map_or(Ok(COMMAND_TIMEOUT), |t| within(t, limits, "timeout"))?,
    })
}

fn webhook(h: &Hooked) -> Result<Webhook, Fault> {
    let url = url(h)?;
    let mut networks = Vec::new();
    for word in h.allow.iter().flatten() {
        networks.push(network(word.get_ref()).map_err(|why| Fault::at(word.span(), why))?);
    }
    let allowed = Allowed { private: h.allow_private.unwrap_or(false), networks };
    if let Ok(address) = url.host.parse::<IpAddr>()
        && let Err(refused) = allowed.check(address)
    {
        return Err(Fault::at(h.url.span(), refused.to_string()));
    }
    let (body, content_type) = body(h)?;
    let secret = match (&h.secret_file, &h.secret_env) {
        (Some(_), Some(variable)) => {
            return Err(Fault::at(variable.span(), "`secret_file` and `secret_env` are both there")
                .hint("one of them is what the body is signed with"));
        }
        (Some(path), None) => Some(Secret::File(whole(path)?)),
        (None, Some(variable)) => {
            let name = variable.get_ref();
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(Fault::at(variable.span(), "no name of an environment variable"));
            }
            Some(Secret::Variable(name.clone()))
        }
        (None, None) => None,
    };
    let seconds = Duration::from_secs;
    let span = |s: &Option<Spanned<Span>>, usual, range, what| {
        s.as_ref().map_or(Ok(usual), |s| within(s, range, what))
    };
    Ok(Webhook {
        body,
        content_type,
        secret,
        authorization: h.authorization_file.as_ref().map(whole).transpose()?.map(Secret::File),
        ca_file: h.ca_file.as_ref().map(whole).transpose()?,
        allowed,
        timeout: span(&h.timeout, WEBHOOK_TIMEOUT, seconds(1)..=seconds(60), "timeout")?,
        max_age: span(&h.max_age, MAX_AGE, seconds(1)..=seconds(7 * 86_400), "max_age")?,
        url,
    })
}

/// The URL. What is wrong with it is said without it: its path may be a secret, and this ends up in logs.
fn url(h: &Hooked) -> Result<HttpRequest, Fault> {
    let wrong = |why: String| Fault::at(h.url.span(), why);
    let url = HttpRequest::of_url(h.url.get_ref()).map_err(|e| {
        let fault = wrong(format!("this {e}"));
        match e {
            crate::observation::UrlError::User => {
                fault.hint("put \"Basic …\" into a file of its own, and name that: authorization_file")
            }
            _ => fault.hint("write it whole: url = \"https://example.com/hook\""),
        }
    })?;
    if !url.tls {
        if !h.insecure.unwrap_or(false) {
            return Err(wrong("everybody on the way could read and change what is sent by http".to_owned())
                .hint("use https, or say insecure = true"));
        }
        if let Some(file) = &h.ca_file {
            return Err(Fault::at(file.span(), "`ca_file` is for https, and this URL is http"));
        }
    }
    if let Err(e) = ServerName::try_from(url.host.as_str()) {
        return Err(wrong(format!("\"{}\" is no host: {e}", url.host.escape_default())));
    }
    Ok(url)
}

fn body(h: &Hooked) -> Result<(Option<Template>, String), Fault> {
    let content_type = h.content_type.as_ref().map_or("application/json", |c| c.get_ref().as_str());
    if let Some(written) = &h.content_type {
        if h.body.is_none() {
            return Err(Fault::at(written.span(), "`content_type` is for a `body` of one's own")
                .hint("without one, the body is JSON"));
        }
        if content_type.is_empty() || HeaderValue::from_str(content_type).is_err() {
            return Err(Fault::at(written.span(), "no content type")
                .hint("such as \"application/json\" or \"text/plain; charset=utf-8\""));
        }
    }
    let Some(text) = &h.body else { return Ok((None, content_type.to_owned())) };
    let body = template(text)?;
    if Webhook::is_json(content_type) {
        // Values are escaped, so what holds for one holds for all.
        let sample = body.render_json(&Words::new(|_| "a".to_owned()));
        if let Err(e) = serde_json::from_str::<IgnoredAny>(&sample) {
            return Err(Fault::at(text.span(), format!("the body is no JSON: {e}")).hint(
                "fields stand within strings: body = '{\"text\": \"{subject} is {state}\"}'; for other texts say content_type",
            ));
        }
    }
    Ok((Some(body), content_type.to_owned()))
}

fn whole(path: &Spanned<PathBuf>) -> Result<PathBuf, Fault> {
    if path.get_ref().is_absolute() {
        return Ok(path.get_ref().clone());
    }
    // Not with what stands there, which may be the secret itself.
    Err(Fault::at(path.span(), "this is no absolute path"))
}

#[cfg(test)]
mod tests;
