//! What somebody may do in an organisation. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scope::{Scope, Scopes};

/// A member's role, the mightiest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Everything, owners included.
    Owner,
    /// Everything but what concerns owners.
    Admin,
    /// Looks, and pays.
    Billing,
    /// Looks, and makes pictures.
    Member,
    /// Looks.
    Viewer,
}

impl Role {
    const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Billing, Self::Member, Self::Viewer];

    /// Its name in the database and on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Billing => "billing",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    /// The role of this name. One of a newer version looks, and no more.
    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|role| role.as_str() == name).unwrap_or(Self::Viewer)
    }

    /// What it may do with what is the account's.
    pub(crate) fn scopes(self) -> Scopes {
        match self {
            Self::Owner | Self::Admin => Scopes::WHOLE,
            Self::Billing => [Scope::Read, Scope::Billing].into_iter().collect(),
            Self::Member => [Scope::Read, Scope::Generate].into_iter().collect(),
            Self::Viewer => [Scope::Read].into_iter().collect(),
        }
    }

    /// Whether it may make somebody of one role somebody of another: owners everybody, admins all but owners.
    pub(crate) fn may_change(self, from: Self, to: Self) -> bool {
        match self {
            Self::Owner => true,
            Self::Admin => from != Self::Owner && to != Self::Owner,
            Self::Billing | Self::Member | Self::Viewer => false,
        }
    }

    /// Whether it sees to who is a member, and reads what was done.
    pub(crate) fn sees_to_members(self) -> bool {
        matches!(self, Self::Owner | Self::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_do_what_it_says() {
        let can = |role: Role| Scope::ALL.map(|scope| role.scopes().allow(scope));
        let [read, generate, billing, manage] = Scope::ALL.map(|scope| scope as usize);
        for (role, allowed) in [
            (Role::Owner, vec![read, generate, billing, manage]),
            (Role::Admin, vec![read, generate, billing, manage]),
            (Role::Billing, vec![read, billing]),
            (Role::Member, vec![read, generate]),
            (Role::Viewer, vec![read]),
        ] {
            let found: Vec<_> = (0..4).filter(|n| can(role)[*n]).collect();
            assert_eq!(found, allowed, "{role:?}");
            assert_eq!(Role::named(role.as_str()), role);
        }
        assert_eq!(Role::named("emperor"), Role::Viewer);
    }

    #[test]
    fn nobody_makes_or_unmakes_whoever_is_above_them() {
        for from in Role::ALL {
            for to in Role::ALL {
                assert!(Role::Owner.may_change(from, to));
                assert_eq!(Role::Admin.may_change(from, to), from != Role::Owner && to != Role::Owner);
                for low in [Role::Billing, Role::Member, Role::Viewer] {
                    assert!(!low.may_change(from, to));
                }
            }
        }
    }
}
