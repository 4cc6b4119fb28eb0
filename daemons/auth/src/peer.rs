//! Who is at the other end of the unix socket: the kernel's word (`SO_PEERCRED`) mapped to a user of ours.
//!
//! A process passes when its user is named in the rules, or when it is in a named group: by its own groups, or by the
//! group's list of members. Names are looked up at each call (a read of small files, or more with other name
//! services), so ask once per connection; the credentials of a connection never change.

/// Who may come in without a password (`kvmd.auth.usc`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRules {
    /// User names: `usc.users` and `usc.kvmd_users` together.
    pub users: Vec<String>,
    /// Group names: `usc.groups` and `usc.kvmd_groups` together.
    pub groups: Vec<String>,
}

impl Default for PeerRules {
    fn default() -> Self {
        Self { users: vec!["root".to_owned()], groups: vec!["kvmd-selfauth".to_owned()] }
    }
}

/// A group of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub gid: u32,
    /// The names listed as its members.
    pub members: Vec<String>,
}

/// The system's users and groups.
pub trait Accounts: Send + Sync {
    /// The name of a user.
    fn user(&self, uid: u32) -> Option<String>;
    /// A group by name.
    fn group(&self, name: &str) -> Option<Group>;
}

/// The accounts of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemAccounts;

impl Accounts for SystemAccounts {
    fn user(&self, uid: u32) -> Option<String> {
        nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name)
    }

    fn group(&self, name: &str) -> Option<Group> {
        let group = nix::unistd::Group::from_name(name).ok().flatten()?;
        Some(Group { gid: group.gid.as_raw(), members: group.mem })
    }
}

impl PeerRules {
    /// The user a process counts as, if any. `gids` are all groups of the process.
    #[must_use]
    pub fn user(&self, accounts: &dyn Accounts, uid: u32, gids: &[u32]) -> Option<String> {
        let name = accounts.user(uid)?;
        let named = self.users.contains(&name);
        let in_group = || {
            let mut groups = self.groups.iter().filter_map(|group| accounts.group(group));
            groups.any(|group| gids.contains(&group.gid) || group.members.contains(&name))
        };
        (named || in_group()).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Village;

    impl Accounts for Village {
        fn user(&self, uid: u32) -> Option<String> {
            match uid {
                0 => Some("root".into()),
                10 => Some("vnc".into()),
                11 => Some("ipmi".into()),
                _ => None,
            }
        }

        fn group(&self, name: &str) -> Option<Group> {
            (name == "kvmd-selfauth").then(|| Group { gid: 500, members: vec!["vnc".into()] })
        }
    }

    #[test]
    fn named_users_and_members_of_named_groups_pass() {
        let rules = PeerRules::default();
        let ask = |uid, gids: &[u32]| rules.user(&Village, uid, gids);
        assert_eq!(ask(0, &[0]).as_deref(), Some("root"));
        assert_eq!(ask(10, &[10]).as_deref(), Some("vnc"), "listed as a member");
        assert_eq!(ask(11, &[11, 500]).as_deref(), Some("ipmi"), "runs with the group");
        assert_eq!(ask(11, &[11]), None);
        assert_eq!(ask(99, &[500]), None, "a user without a name is nobody");
    }

    #[test]
    fn without_rules_nobody_passes_not_even_root() {
        let rules = PeerRules { users: Vec::new(), groups: Vec::new() };
        assert_eq!(rules.user(&Village, 0, &[0, 500]), None);
    }

    #[test]
    fn this_machine_knows_root() {
        assert_eq!(SystemAccounts.user(0).as_deref(), Some("root"));
        assert_eq!(SystemAccounts.group("no-such-group-here"), None);
    }
}
