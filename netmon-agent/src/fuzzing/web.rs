//! The door of what is served over TCP: a web configuration's users and headers.

use std::{path::Path, sync::Arc};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Rules, Web};

/// A door.
#[derive(Debug)]
pub struct Door {
    web: Arc<Web>,
    rules: Arc<Rules>,
}

impl Door {
    /// By this file and those that it names.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn open(path: &Path, must_protect: bool) -> Result<Self, String> {
        let web = Arc::new(Web::read(path, must_protect).map_err(|error| error.to_string())?);
        let rules = web.look();
        assert!(web.files().iter().any(|file| file == path), "its own file is not looked at");
        assert_eq!(rules.acceptor().is_some(), web.scheme() == "https");
        Ok(Self { web, rules })
    }

    /// Looks at the files anew; whether anything is changed.
    pub fn look(&mut self) -> bool {
        let rules = self.web.look();
        let changed = !Arc::ptr_eq(&rules, &self.rules);
        self.rules = rules;
        assert!(Arc::ptr_eq(&self.rules, &self.web.look()), "what has not changed is read again");
        changed
    }

    /// Whether connections are encrypted, and whether users are asked for.
    pub fn protects(&self) -> (bool, bool) {
        (self.rules.acceptor().is_some(), !self.rules.users.is_empty())
    }

    /// Whether who says this is let in; `None` where no header can have it as its value.
    pub async fn lets_in(&self, authorization: &[u8]) -> Option<bool> {
        let value = HeaderValue::from_bytes(authorization).ok()?;
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        let refusal = self.web.refuse(&self.rules, &headers).await;
        if let Some(refusal) = &refusal {
            assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
            assert!(refusal.headers().contains_key(header::WWW_AUTHENTICATE));
        }
        assert!(self.rules.remembered().len() <= super::REMEMBERED);
        Some(refusal.is_none())
    }

    /// What every answer is marked with.
    pub fn marks(&self) -> Vec<(String, Vec<u8>)> {
        let mut headers = HeaderMap::new();
        self.rules.mark(&mut headers);
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
    }
}
