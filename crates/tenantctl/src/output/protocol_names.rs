//! The protocol's enums as words, and back. A value that is not given has no word; one that a newer control plane made up
//! is `unrecognized`.

use tenantry_proto::v1;
use tenantry_types::Tier;

const UNRECOGNIZED: Option<&str> = Some("unrecognized");

/// Unspecified where none is given.
pub(crate) const fn tier_message(tier: Option<Tier>) -> v1::Tier {
    match tier {
        None => v1::Tier::Unspecified,
        Some(Tier::Micro) => v1::Tier::Micro,
        Some(Tier::Small) => v1::Tier::Small,
        Some(Tier::Medium) => v1::Tier::Medium,
        Some(Tier::Large) => v1::Tier::Large,
        Some(Tier::Enterprise) => v1::Tier::Enterprise,
    }
}

/// Writes a function from the number on the wire to a word.
macro_rules! words {
    ($($function:ident: $enum:ident { $($variant:ident => $word:literal),* $(,)? })*) => {
        $(pub(crate) fn $function(value: i32) -> Option<&'static str> {
            match v1::$enum::try_from(value) {
                Ok(v1::$enum::Unspecified) => None,
                $(Ok(v1::$enum::$variant) => Some($word),)*
                Err(_) => UNRECOGNIZED,
            }
        })*
    };
}

words! {
    tier: Tier {
        Micro => "micro", Small => "small", Medium => "medium", Large => "large", Enterprise => "enterprise",
    }
    tier_mode: TierMode { Pinned => "pinned", Auto => "auto" }
    durability: Durability { Local => "local", Replicated => "replicated" }
    tenant_state: TenantState { Active => "active", Deleted => "deleted" }
    scheduling: NodeScheduling { Open => "open", Cordoned => "cordoned" }
    availability: NodeAvailability { Unknown => "unknown", Up => "up", Suspect => "suspect", Down => "down" }
    member_role: MemberRole {
        Leader => "leader", Follower => "follower", Candidate => "candidate", Learner => "learner",
    }
    member_kind: MemberKind { Voter => "voter", Learner => "learner" }
    token_key_phase: TokenKeyPhase { Waiting => "waiting", Signing => "signing", Superseded => "superseded" }
    severity: EventSeverity { Info => "info", Warning => "warning", Critical => "critical" }
    condition_kind: ConditionKind { Hotspot => "hotspot", Spike => "spike", NodeExceeded => "node-exceeded" }
    condition_end: ConditionEnd {
        TenantDeleted => "tenant deleted", TenantMoved => "tenant moved", RecordLost => "the node lost its record",
    }
    disabled_by: WebhookDisabledBy { Operator => "operator", Receiver => "receiver" }
    webhook_state: WebhookState {
        Delivering => "delivering", Failing => "failing", Disabled => "disabled", Gone => "gone",
    }
    tenant_usage_order: TenantUsageOrder {
        Requests => "requests", Cpu => "cpu", DatabaseBytes => "bytes", Errors => "errors",
    }
    limit_origin: LimitOrigin { Tier => "tier", Tenant => "tenant" }
    quota_kind: QuotaKind { RequestsPerDay => "requests-per-day", Database => "database" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_has_the_name_of_the_domain_type() {
        for each in Tier::ALL {
            assert_eq!(tier(tier_message(Some(each)).into()), Some(each.as_str()));
        }
        assert_eq!(tier(0), None);
        assert_eq!(tier(99), Some("unrecognized"));
    }
}
