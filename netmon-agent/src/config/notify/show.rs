//! Back to the tables. No secret is in them: where it is stands there.

use super::file::{Command, Hooked, Notify, Tables};
use crate::{
    config::{
        show::{all, span, there, word},
        spanned::Spanned,
    },
    health::State,
    output::notify::{
        Hook, Means, Notifier, Rule, Webhook,
        template::Template,
        webhook::{Secret, address::Allowed},
    },
};

/// Notifiers as the file would have them.
pub(in crate::config) fn of_notifiers(notifiers: &[Notifier]) -> Notify {
    let (mut command, mut webhook) = (Tables::default(), Tables::default());
    for notifier in notifiers {
        match &notifier.means {
            Means::Command(hook) => command.0.push(of_command(notifier, hook)),
            Means::Webhook(hook) => webhook.0.push(of_webhook(notifier, hook)),
        }
    }
    Notify { command, webhook }
}

fn of_command(notifier: &Notifier, hook: &Hook) -> Command {
    let Notifier { name, rule, room, means: _ } = notifier;
    let Rule { subjects, states: _, after, initial } = rule;
    let Hook { program, arguments, timeout } = hook;
    let arguments = arguments.iter().map(|text| text.as_written().to_owned());
    let words: Vec<String> = [program.clone()].into_iter().chain(arguments).collect();
    Command {
        command: Spanned::nowhere(all(&words)),
        timeout: span(*timeout),
        name: word(name),
        subjects: there(all(subjects.words())),
        states: there(all(&states(rule))),
        after: span(*after),
        initial: Some(*initial),
        queue: there(*room),
    }
}

fn of_webhook(notifier: &Notifier, hook: &Webhook) -> Hooked {
    let Notifier { name, rule, room, means: _ } = notifier;
    let Rule { subjects, states: _, after, initial } = rule;
    let Webhook { url, body, content_type, secret, authorization, ca_file, allowed, timeout, max_age } = hook;
    let Allowed { private, networks } = allowed;
    let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
    let (secret_file, secret_env) = match secret.clone() {
        Some(Secret::File(path)) => (there(path), None),
        Some(Secret::Variable(name)) => (None, there(name)),
        None => (None, None),
    };
    let authorization_file = match authorization.clone() {
        Some(Secret::File(path)) => there(path),
        // The file has no key for it.
        Some(Secret::Variable(_)) | None => None,
    };
    Hooked {
        url: Spanned::nowhere(url.url()),
        insecure: Some(!url.tls),
        body: body.as_ref().map(Template::as_written).and_then(word),
        // It is that of a body of one's own.
        content_type: body.as_ref().and_then(|_| word(content_type)),
        secret_file,
        secret_env,
        authorization_file,
        ca_file: ca_file.clone().and_then(there),
        allow_private: Some(*private),
        allow: Some(all(&networks)),
        timeout: span(*timeout),
        max_age: span(*max_age),
        name: word(name),
        subjects: there(all(subjects.words())),
        states: there(all(&states(rule))),
        after: span(*after),
        initial: Some(*initial),
        queue: there(*room),
    }
}

fn states(rule: &Rule) -> Vec<String> {
    State::ALL.into_iter().filter(|s| rule.states.has(*s)).map(|s| s.as_str().to_owned()).collect()
}
