//! Whether a password is the right one.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    thread::available_parallelism,
};

use adit_core::{failure::Failure, gate::PasswordHash};
use argon2::{
    Argon2, PasswordVerifier,
    password_hash::phc::{self, Ident},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

/// How many requests may wait for their passwords to be verified; the rest are told to come back.
const WAITING_MAX: usize = 64;

/// The most memory and passes that verifying a password may take: whoever writes a hash must not stop the node.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;

/// Verifies passwords, beside everything else: one takes as long as thousands of requests.
#[derive(Clone, Debug)]
pub struct Verifier {
    waiting: Arc<Semaphore>,
    /// A share of the cores, so that whoever tries passwords does not stop everybody else.
    running: Arc<Semaphore>,
}

impl Default for Verifier {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self { waiting: Arc::new(Semaphore::new(WAITING_MAX)), running: Arc::new(Semaphore::new(cores.div_ceil(2))) }
    }
}

/// A turn to verify a password.
#[derive(Debug)]
pub struct Turn {
    _running: OwnedSemaphorePermit,
}

impl Verifier {
    /// Waits for a turn. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Failure::Overloaded`] when too many wait already.
    pub async fn turn(&self) -> Result<Turn, Failure> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Failure::Overloaded)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Failure::Overloaded)?;
        Ok(Turn { _running: running })
    }
}

/// The users of a rule, and which of their passwords have been seen to be right.
pub struct Passwords {
    users: HashMap<Vec<u8>, User>,
    /// Stands in for whoever is not a user, so that both take as long.
    nobody: Option<phc::PasswordHash>,
    key: [u8; blake3::KEY_LEN],
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Passwords({} users)", self.users.len())
    }
}

struct User {
    hash: phc::PasswordHash,
    /// A keyed hash of the one password that is right, once it was shown.
    right: OnceLock<blake3::Hash>,
}

/// A hash that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPasswordHash {
    /// It is none of argon2.
    #[error("must be an argon2id hash ($argon2id$v=19$…), as `adit password` makes them")]
    Form,
    /// Verifying takes too much.
    #[error("takes more than {MEMORY_KIB_MAX} KiB or {PASSES_MAX} passes to verify")]
    Cost,
}

/// Reads a hash.
///
/// # Errors
///
/// When it is none that can be verified; the hash itself is not in the error.
pub fn parse(hash: &PasswordHash) -> Result<phc::PasswordHash, BadPasswordHash> {
    let parsed = phc::PasswordHash::new(hash.as_str()).map_err(|_| BadPasswordHash::Form)?;
    if parsed.algorithm != Ident::new_unwrap("argon2id") || parsed.hash.is_none() || parsed.salt.is_none() {
        return Err(BadPasswordHash::Form);
    }
    let params = argon2::Params::try_from(&parsed).map_err(|_| BadPasswordHash::Form)?;
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
        return Err(BadPasswordHash::Cost);
    }
    Ok(parsed)
}

impl Passwords {
    /// Takes names and hashes, and a secret of this process that remembers right passwords.
    ///
    /// # Errors
    ///
    /// When a hash is none.
    pub fn new(users: &[(String, PasswordHash)], key: [u8; blake3::KEY_LEN]) -> Result<Self, BadPasswordHash> {
        let mut known = HashMap::new();
        let mut nobody = None;
        for (name, hash) in users {
            let hash = parse(hash)?;
            nobody.get_or_insert_with(|| hash.clone());
            known.insert(name.as_bytes().to_vec(), User { hash, right: OnceLock::new() });
        }
        Ok(Self { users: known, nobody, key })
    }

    /// Returns whether a password was seen to be the right one. Takes no longer than hashing it once.
    pub fn is_known(&self, user: &[u8], password: &[u8]) -> bool {
        let right = self.users.get(user).and_then(|user| user.right.get());
        let shown = blake3::keyed_hash(&self.key, password);
        right.is_some_and(|right| *right == shown)
    }

    /// Verifies a password. Takes as long whether there is such a user or not.
    ///
    /// Dropped early, it is verified to its end all the same, and the turn taken until then.
    pub async fn verify(&self, user: &[u8], password: Vec<u8>, turn: Turn) -> bool {
        let Some(hash) = self.hash_for(user).cloned() else { return false };
        let user = self.users.get(user);
        let shown = blake3::keyed_hash(&self.key, &password);
        let verified = spawn_blocking(move || {
            let is_right = Argon2::default().verify_password(&password, &hash).is_ok();
            drop(turn);
            is_right
        });
        let is_right = verified.await.unwrap_or(false);
        let Some(user) = user.filter(|_| is_right) else { return false };
        let _ = user.right.set(shown);
        true
    }

    /// Returns the hash that a password is compared with: that of another user where there is none of this name, so that
    /// it takes as long.
    fn hash_for(&self, user: &[u8]) -> Option<&phc::PasswordHash> {
        self.users.get(user).map(|user| &user.hash).or(self.nobody.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "password" and "other", as cheap as argon2 gets.
    fn users() -> Vec<(String, PasswordHash)> {
        [("alice", "password"), ("bob", "other")].map(|(name, password)| (name.to_owned(), hash(password))).to_vec()
    }

    fn hash(password: &str) -> PasswordHash {
        use argon2::PasswordHasher as _;
        let params = argon2::Params::new(8, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        PasswordHash::new(&argon2.hash_password_with_salt(password.as_bytes(), b"salt and pepper").unwrap().to_string())
    }

    async fn verify(passwords: &Passwords, user: &str, password: &str) -> bool {
        let turn = Verifier::default().turn().await.unwrap();
        passwords.verify(user.as_bytes(), password.into(), turn).await
    }

    #[tokio::test]
    async fn a_password_is_right_for_its_user_only() {
        let passwords = Passwords::new(&users(), [1; 32]).unwrap();
        for (user, password, is_right) in [
            ("alice", "password", true),
            ("alice", "Password", false),
            ("alice", "other", false),
            ("bob", "other", true),
            ("bob", "", false),
            ("carol", "password", false),
            ("", "password", false),
        ] {
            assert_eq!(verify(&passwords, user, password).await, is_right, "{user} {password}");
            assert_eq!(passwords.is_known(user.as_bytes(), password.as_bytes()), is_right, "{user} {password}");
        }
    }

    #[test]
    fn an_unknown_user_costs_as_much_as_a_known_one() {
        let passwords = Passwords::new(&users(), [1; 32]).unwrap();
        assert_eq!(passwords.hash_for(b"carol"), passwords.hash_for(b"alice"));
        assert_ne!(passwords.hash_for(b"bob"), passwords.hash_for(b"alice"));
        assert!(passwords.hash_for(b"carol").is_some());
    }

    #[test]
    fn nothing_is_known_before_it_was_verified() {
        let passwords = Passwords::new(&users(), [1; 32]).unwrap();
        assert!(!passwords.is_known(b"alice", b"password"));
    }

    #[test]
    fn only_argon2id_of_a_bearable_cost_is_a_hash() {
        let parse = |text: &str| super::parse(&PasswordHash::new(text)).err();
        assert_eq!(parse(hash("x").as_str()), None);
        for bad in [
            "",
            "password",
            "$2b$12$abc",
            "$argon2id$v=19$m=8,t=1,p=1",
            "$argon2d$v=19$m=65536,t=2,p=1$YzI5dFpYTmhiSFFBQUFBQUFBQUFBQQ$Jxy74cswY2mq9y+u+iJcJy8EqOp4t/C7DWDzGwGB3IM",
        ] {
            assert_eq!(parse(bad), Some(BadPasswordHash::Form), "{bad}");
        }
        let dear = hash("x").as_str().replace("m=8,", "m=4000000,");
        assert_eq!(parse(&dear), Some(BadPasswordHash::Cost));
    }

    #[tokio::test]
    async fn as_many_wait_as_may_and_no_more() {
        let verifier = Verifier { waiting: Arc::new(Semaphore::new(1)), running: Arc::new(Semaphore::new(1)) };
        let first = verifier.turn().await.unwrap();
        let waiting = verifier.clone();
        let mut second = tokio::task::JoinSet::new();
        second.spawn(async move { waiting.turn().await.is_ok() });
        while verifier.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(verifier.turn().await.err(), Some(Failure::Overloaded));
        drop(first);
        assert!(second.join_next().await.unwrap().unwrap());
        assert!(verifier.turn().await.is_ok());
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let passwords = Passwords::new(&users(), [77; 32]).unwrap();
        let shown = format!("{passwords:?}");
        assert!(!shown.contains("argon2") && !shown.contains("77"), "{shown}");
    }
}
