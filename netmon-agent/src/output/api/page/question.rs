//! What a reader of the page wants to see, in the address: a search, a state, which sheet. It works without scripts.

use crate::{health::State, state::TargetView};

/// Longest text that is searched for, characters.
const LONGEST: usize = 100;

const PARAMETERS: &str = "q, state, sheet, part, reload";

/// A query of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// What names, hosts, scopes and methods are searched for, in lower case; empty for all.
    pub(super) search: String,
    /// Which targets.
    pub(super) show: Show,
    /// Which sheet of them, from 1.
    pub(super) sheet: usize,
    /// Only what changes, for the page's own script.
    pub(super) part: bool,
    /// Whether the page reloads itself where there are no scripts.
    pub(super) reload: bool,
}

impl Default for Question {
    fn default() -> Self {
        Self { search: String::new(), show: Show::All, sheet: 1, part: false, reload: true }
    }
}

/// Targets by their state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// All of them.
    All,
    /// Those that are not up.
    Faulty,
    /// Those in this state.
    Only(State),
}

impl Show {
    /// Every choice, as it is offered.
    pub(super) const ALL: [Self; 6] = [
        Self::All,
        Self::Faulty,
        Self::Only(State::Down),
        Self::Only(State::Degraded),
        Self::Only(State::Unknown),
        Self::Only(State::Up),
    ];

    /// The word for it in an address.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Faulty => "faulty",
            Self::Only(state) => state.as_str(),
        }
    }

    fn has(self, state: State) -> bool {
        match self {
            Self::All => true,
            Self::Faulty => state != State::Up,
            Self::Only(only) => state == only,
        }
    }
}

impl Question {
    /// The query of an address, or what is wrong with it.
    pub(super) fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut asked = Self::default();
        for (i, (name, value)) in pairs.iter().enumerate() {
            if pairs[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(format!("parameter {name:?} comes twice"));
            }
            match name.as_str() {
                "q" if value.chars().count() <= LONGEST => asked.search = value.trim().to_lowercase(),
                "q" => return Err(format!("q is longer than {LONGEST} characters")),
                "state" => {
                    let found = Show::ALL.into_iter().find(|show| show.as_str() == value);
                    let all = || Show::ALL.map(Show::as_str).join(", ");
                    asked.show = found.ok_or_else(|| format!("state={value:?}; there are: {}", all()))?;
                }
                "sheet" => {
                    let number = value.parse().ok().filter(|n| *n > 0);
                    asked.sheet = number.ok_or_else(|| format!("sheet={value:?} is no number from 1 on"))?;
                }
                "part" if value == "live" => asked.part = true,
                "part" => return Err(format!("part={value:?}; there is: live")),
                "reload" if matches!(value.as_str(), "on" | "off") => asked.reload = value == "on",
                "reload" => return Err(format!("reload={value:?}; there are: on, off")),
                _ => return Err(format!("unknown parameter {name:?}; there are: {PARAMETERS}")),
            }
        }
        Ok(asked)
    }

    /// The address of the same page with other targets on it.
    pub(super) fn with(&self, show: Show, sheet: usize) -> String {
        Self { show, sheet, ..self.clone() }.address()
    }

    /// The address of this page: what follows `?`, and that.
    pub(super) fn address(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if !self.search.is_empty() {
            query.append_pair("q", &self.search);
        }
        if self.show != Show::All {
            query.append_pair("state", self.show.as_str());
        }
        if self.sheet > 1 {
            query.append_pair("sheet", &self.sheet.to_string());
        }
        if !self.reload {
            query.append_pair("reload", "off");
        }
        format!("?{}", query.finish())
    }

    /// Whether a target is asked for.
    pub(super) fn is_of(&self, target: &TargetView) -> bool {
        self.show.has(target.verdict.state) && self.finds(target)
    }

    /// Whether a target has what is searched for.
    pub(super) fn finds(&self, target: &TargetView) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.search);
        self.search.is_empty()
            || has(&target.name)
            || has(&target.host)
            || has(&target.scope)
            || has(target.method)
            || target.addresses.iter().any(|a| has(&a.address.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(query: &str) -> Result<Question, String> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Question::parse(&pairs)
    }

    #[test]
    fn a_query_is_taken_or_its_fault_is_named() {
        assert_eq!(parsed(""), Ok(Question::default()));
        let asked = parsed("q=+Web+&state=down&sheet=3&part=live&reload=off").unwrap();
        let show = Show::Only(State::Down);
        assert_eq!(asked, Question { search: "web".into(), show, sheet: 3, part: true, reload: false });
        for (query, words) in [
            ("page=2", PARAMETERS),
            ("q=a&q=b", "twice"),
            ("state=fine", "all, faulty, down"),
            ("sheet=0", "from 1 on"),
            ("sheet=-1", "from 1 on"),
            ("part=all", "live"),
            ("reload=5", "on, off"),
            (&format!("q={}", "x".repeat(101)), "100 characters"),
        ] {
            let said = parsed(query).unwrap_err();
            assert!(said.contains(words), "{query}: {said}");
        }
    }

    proptest! {
        #[test]
        fn an_address_leads_back(search in "\\PC{0,60}", show in 0..Show::ALL.len(), sheet in 1..1000usize, reload: bool) {
            let search = search.trim().to_lowercase();
            prop_assume!(search.chars().count() <= LONGEST);
            let asked = Question { search, show: Show::ALL[show], sheet, part: false, reload };
            let address = asked.address();
            prop_assert!(address.is_ascii() && !address.contains(['"', '\'', '<', '>', ' ']));
            let back = parsed(address.strip_prefix('?').unwrap());
            // Lower case of lower case may be another: `İ`.
            prop_assert_eq!(back.map(|b| (b.show, b.sheet, b.reload)), Ok((asked.show, asked.sheet, asked.reload)));
        }
    }
}
