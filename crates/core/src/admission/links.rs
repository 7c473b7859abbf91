//! How many links each client has.

use std::collections::HashMap;

use super::Objection;
use crate::id::{ClientId, Group, Identity};

/// The links of every client that has one, by the groups and processes that they are of.
///
/// A process that comes back to its group is counted once, however many of its links have not been noticed to be dead.
#[derive(Debug, Default)]
pub struct Links(HashMap<Identity, HashMap<(Group, ClientId), usize>>);

impl Links {
    /// Counts one more link of a client, unless it has `max` already.
    ///
    /// # Errors
    ///
    /// When it has.
    pub fn enter(&mut self, identity: &Identity, group: &Group, id: &ClientId, max: usize) -> Result<(), Objection> {
        let links = self.0.entry(identity.clone()).or_default();
        let key = (group.clone(), id.clone());
        if links.len() >= max && !links.contains_key(&key) {
            return Err(Objection::TooManyLinks { name: identity.name.clone(), max });
        }
        *links.entry(key).or_default() += 1;
        Ok(())
    }

    /// Takes back one that was counted.
    pub fn leave(&mut self, identity: &Identity, group: &Group, id: &ClientId) {
        let Some(links) = self.0.get_mut(identity) else { return };
        let key = (group.clone(), id.clone());
        if let Some(count) = links.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                links.remove(&key);
            }
        }
        if links.is_empty() {
            self.0.remove(identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::Proof, token::Token};

    const MAX: usize = 2;

    fn enter(links: &mut Links, identity: &Identity, group: &str, id: &str) -> bool {
        links.enter(identity, &group.parse().unwrap(), &id.parse().unwrap(), MAX).is_ok()
    }

    fn leave(links: &mut Links, identity: &Identity, group: &str, id: &str) {
        links.leave(identity, &group.parse().unwrap(), &id.parse().unwrap());
    }

    #[test]
    fn a_client_has_so_many_links_in_all_groups_together() {
        let (mut links, web) = (Links::default(), Identity::certified("web"));
        assert!(enter(&mut links, &web, "a", "one"));
        assert!(enter(&mut links, &web, "b", "one"));
        let denied = links.enter(&web, &"c".parse().unwrap(), &"one".parse().unwrap(), MAX).unwrap_err();
        assert_eq!(denied, Objection::TooManyLinks { name: "web".into(), max: MAX });
        assert!(!enter(&mut links, &web, "a", "two"));
        leave(&mut links, &web, "b", "one");
        assert!(enter(&mut links, &web, "a", "two"));
    }

    #[test]
    fn a_process_that_comes_back_is_no_other_one() {
        let (mut links, web) = (Links::default(), Identity::certified("web"));
        assert!(enter(&mut links, &web, "a", "one") && enter(&mut links, &web, "a", "two"));
        assert!(enter(&mut links, &web, "a", "one"));
        leave(&mut links, &web, "a", "one");
        assert!(!enter(&mut links, &web, "a", "three"), "the newer link is still there");
        leave(&mut links, &web, "a", "one");
        assert!(enter(&mut links, &web, "a", "three"));
    }

    #[test]
    fn one_client_takes_nothing_from_another() {
        let mut links = Links::default();
        let proof = Proof::Token(Token::from_secret([1; 32]).hash());
        let (web, by_token) = (Identity::certified("web"), Identity { name: "web".into(), proof });
        for identity in [web, by_token, Identity::certified("db")] {
            assert!(enter(&mut links, &identity, "a", "one") && enter(&mut links, &identity, "a", "two"));
        }
    }

    #[test]
    fn nothing_is_kept_of_who_has_gone() {
        let (mut links, web) = (Links::default(), Identity::certified("web"));
        assert!(enter(&mut links, &web, "a", "one"));
        leave(&mut links, &web, "a", "one");
        leave(&mut links, &web, "a", "one");
        assert!(links.0.is_empty());
    }
}
