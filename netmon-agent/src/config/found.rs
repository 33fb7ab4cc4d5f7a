//! What a document has of targets, for the settings of its source. Pure.

use std::path::Path;

use super::{
    ConfigError, TargetConfig,
    error::Fault,
    groups::{self, Format},
    template::Template,
};
use crate::observation::Family;

/// The targets of a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// In the order of the document.
    pub targets: Vec<TargetConfig>,
    /// Labels that are not for netmon.
    pub other_labels: usize,
}

impl Template {
    /// Reads a document; `path` is for messages.
    ///
    /// # Errors
    /// It is not of this format, or no list of groups, or has a target that can't be probed with these settings. The
    /// error names the place.
    pub fn read(&self, text: &str, format: Format, path: &Path) -> Result<Found, ConfigError> {
        let read = || {
            let mut found = Found::default();
            for group in groups::parse(text, format)? {
                self.group(&group, &mut found.targets)?;
                found.other_labels += group.other_labels;
            }
            Ok(found)
        };
        read().map_err(|fault: Fault| fault.locate(text, path))
    }

    /// The target that an SRV record names.
    ///
    /// # Errors
    /// Why it can't be one.
    pub fn of_service(&self, host: &str, port: u16) -> Result<TargetConfig, String> {
        self.service(host, port).map_err(|fault| fault.message)
    }

    /// The target that is a name with its addresses of one family.
    ///
    /// # Errors
    /// Why it can't be one.
    pub fn of_name(&self, name: &str, family: Family) -> Result<TargetConfig, String> {
        self.name(name, family).map_err(|fault| fault.message)
    }
}

#[cfg(test)]
#[path = "found_tests.rs"]
mod tests;
