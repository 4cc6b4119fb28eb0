//! Who the children are: users and groups by name, or fixed numbers where the system has none of them.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{fchown, lchown};
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};

use crate::launch::{Rights, RunAs};

/// A user with its own group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Everybody we run something as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// `kvmd`.
    pub kvmd: Account,
    /// `kvmd-streamer`.
    pub streamer: Account,
    /// `kvmd-vm`; its group is shared by those who use the target's sockets and images.
    pub vm: Account,
    /// Who may use our sockets.
    pub socket_gid: u32,
    /// Who may read the journal.
    pub journal_gid: u32,
    /// Who may use capture devices.
    video_gid: Option<u32>,
    /// Who may use `/dev/kvm`.
    kvm_gid: Option<u32>,
    /// Whether we can be anybody else than ourselves.
    switch: bool,
}

/// Numbers for a run as root on a machine where the appliance is not installed. Below 1000 and above what
/// distributions give out first; nothing else about them matters.
const FALLBACK: [(&str, u32); 4] =
    [("kvmd", 960), ("kvmd-streamer", 961), ("kvmd-vm", 962), ("systemd-journal", 963)];

impl Accounts {
    /// As the system says, by the names of the settings; everybody is ourselves when we are not root.
    #[must_use]
    pub fn find(names: &config::Users) -> Self {
        let (uid, gid) = (Uid::effective(), Gid::effective().as_raw());
        if !uid.is_root() {
            let own = Account { uid: uid.as_raw(), gid };
            return Self {
                kvmd: own,
                streamer: own,
                vm: own,
                socket_gid: gid,
                journal_gid: gid,
                video_gid: None,
                kvm_gid: None,
                switch: false,
            };
        }
        Self {
            kvmd: account(&names.kvmd, "kvmd"),
            streamer: account(&names.streamer, "kvmd-streamer"),
            vm: account(&names.vm, "kvmd-vm"),
            socket_gid: group(&names.group).unwrap_or_else(|| fallback("kvmd")),
            journal_gid: group("systemd-journal").unwrap_or_else(|| fallback("systemd-journal")),
            video_gid: group("video"),
            kvm_gid: group("kvm"),
            switch: true,
        }
    }

    /// Whether children run as users of their own.
    #[must_use]
    pub fn switch(&self) -> bool {
        self.switch
    }

    /// What `kvmd` runs as: it reads the journal and talks to the target.
    #[must_use]
    pub fn kvmd_rights(&self) -> Rights {
        self.rights(self.kvmd, [Some(self.journal_gid), Some(self.vm.gid)])
    }

    /// What the streamer runs as: it opens capture devices and looks at the target's screen.
    #[must_use]
    pub fn streamer_rights(&self) -> Rights {
        self.rights(self.streamer, [self.video_gid, Some(self.vm.gid)])
    }

    /// What the target runs as.
    #[must_use]
    pub fn vm_rights(&self) -> Rights {
        self.rights(self.vm, [self.kvm_gid, None])
    }

    /// User and group for a guest that is tried with `/dev/kvm`; `None` when everybody is ourselves.
    #[must_use]
    pub fn guest(&self) -> Option<(u32, u32)> {
        self.switch.then(|| (self.vm.uid, self.kvm_gid.unwrap_or(self.vm.gid)))
    }

    fn rights(&self, account: Account, groups: [Option<u32>; 2]) -> Rights {
        if !self.switch {
            return Rights::Same;
        }
        let groups = groups.into_iter().flatten().filter(|gid| *gid != account.gid).collect();
        Rights::User(RunAs { uid: account.uid, gid: account.gid, groups })
    }

    /// Gives a path away; does nothing where everybody is ourselves.
    ///
    /// # Errors
    ///
    /// What `lchown` says.
    pub fn give(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        if self.switch {
            // Not what a link points to: some of these lie in directories that children write.
            lchown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Gives an open file away; does nothing where everybody is ourselves.
    ///
    /// # Errors
    ///
    /// What `fchown` says.
    pub fn give_open(&self, file: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
        if self.switch {
            fchown(file, Some(uid), Some(gid))?;
        }
        Ok(())
    }
}

/// A lookup that fails is a user that does not exist: a broken name service must not stop the appliance.
fn account(name: &str, role: &str) -> Account {
    User::from_name(name).ok().flatten().map_or_else(
        || Account { uid: fallback(role), gid: fallback(role) },
        |user| Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() },
    )
}

fn group(name: &str) -> Option<u32> {
    Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

fn fallback(name: &str) -> u32 {
    // Nobody, for a name that is not in the table; there is none such.
    FALLBACK.iter().find(|(have, _)| *have == name).map_or(65_534, |(_, number)| *number)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Those of the machine the tests run on.
    pub(crate) fn found() -> Accounts {
        Accounts::find(&config::Config::defaults(&config::Layout::system()).supervisor.users)
    }

    #[test]
    fn nobody_s_own_group_is_listed_twice_and_nobody_is_root() {
        let own = |id| Account { uid: id, gid: id };
        let accounts = Accounts {
            kvmd: own(960),
            streamer: own(961),
            vm: own(962),
            socket_gid: 960,
            journal_gid: 960,
            video_gid: None,
            kvm_gid: Some(104),
            switch: true,
        };
        assert_eq!(accounts.kvmd_rights(), Rights::User(RunAs { uid: 960, gid: 960, groups: vec![962] }));
        assert_eq!(accounts.vm_rights(), Rights::User(RunAs { uid: 962, gid: 962, groups: vec![104] }));
    }

    #[test]
    fn every_account_has_a_number_of_its_own() {
        let mut numbers: Vec<u32> = FALLBACK.iter().map(|(name, _)| fallback(name)).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), FALLBACK.len());
        assert!(!numbers.contains(&0));
    }
}
