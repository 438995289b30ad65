//! Which fields of a tenant's spec an update changes.

use tenantry_types::TenantSpec;

use super::{InvalidField, Within};
use crate::v1;

/// One field that an update can name.
struct Field {
    path: &'static str,
    is_present: fn(&v1::TenantSpec) -> bool,
    copy: fn(&mut v1::TenantSpec, &v1::TenantSpec),
}

macro_rules! quota_field {
    ($name:ident) => {
        Field {
            path: concat!("spec.quota.", stringify!($name)),
            is_present: |spec| spec.quota.is_some_and(|quota| quota.$name.is_some()),
            copy: |to, from| to.quota.get_or_insert_default().$name = from.quota.unwrap_or_default().$name,
        }
    };
}

/// All fields of the spec.
const FIELDS: [Field; 15] = [
    Field {
        path: "spec.tier",
        is_present: |spec| spec.tier != 0,
        copy: |to, from| to.tier = from.tier,
    },
    Field {
        path: "spec.tier_mode",
        is_present: |spec| spec.tier_mode != 0,
        copy: |to, from| to.tier_mode = from.tier_mode,
    },
    Field {
        path: MAX_TIER,
        is_present: |spec| spec.max_tier != 0,
        copy: |to, from| to.max_tier = from.max_tier,
    },
    quota_field!(database_bytes),
    quota_field!(requests_per_day),
    quota_field!(burst),
    quota_field!(concurrent_requests),
    quota_field!(query_time_ms),
    quota_field!(memory_bytes),
    quota_field!(cpu_millicores),
    quota_field!(result_bytes),
    quota_field!(request_bytes),
    Field {
        path: "spec.durability",
        is_present: |spec| spec.durability != 0,
        copy: |to, from| to.durability = from.durability,
    },
    Field {
        path: "spec.labels",
        is_present: |spec| !spec.labels.is_empty(),
        copy: |to, from| to.labels.clone_from(&from.labels),
    },
    Field {
        path: "spec.domains",
        is_present: |spec| !spec.domains.is_empty(),
        copy: |to, from| to.domains.clone_from(&from.domains),
    },
];

const MAX_TIER: &str = "spec.max_tier";

/// The spec after an update. A named path that is absent in `new` returns to its default; without paths, every field
/// that is present in `new` is taken. `spec.quota` stands for all limits, `spec` and `*` for everything.
///
/// # Errors
/// Names `update_mask` when a path is none that can be changed, and otherwise the field below `spec` whose new value
/// cannot be accepted.
pub fn apply_update_mask(
    current: &TenantSpec,
    new: &v1::TenantSpec,
    paths: &[String],
) -> Result<TenantSpec, InvalidField> {
    for path in paths {
        if !FIELDS.iter().any(|field| names(path, field)) {
            let shown: String = path.chars().take(80).collect();
            return Err(InvalidField::new(
                "update_mask",
                format!("`{shown}` is not a field that can be changed"),
            ));
        }
    }
    let is_named = |field: &Field| {
        if paths.is_empty() {
            (field.is_present)(new)
        } else {
            paths.iter().any(|path| names(path, field))
        }
    };
    let mut merged = v1::TenantSpec::from(current);
    FIELDS
        .iter()
        .filter(|field| is_named(field))
        .for_each(|field| (field.copy)(&mut merged, new));
    // Whoever pins a tier need not know that the automatic one had a bound.
    let names_max_tier = FIELDS.iter().any(|field| field.path == MAX_TIER && is_named(field));
    if merged.tier_mode() != v1::TierMode::Auto && !names_max_tier {
        merged.max_tier = 0;
    }
    TenantSpec::try_from(merged).within("spec")
}

/// Whether a path of a mask means this field: itself or a message around it.
fn names(path: &str, field: &Field) -> bool {
    path == "*" || path == field.path || field.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use tenantry_types::{Durability, Tier, TierPolicy};

    use super::*;

    fn current() -> TenantSpec {
        v1::TenantSpec {
            tier: v1::Tier::Large.into(),
            tier_mode: v1::TierMode::Auto.into(),
            max_tier: v1::Tier::Large.into(),
            quota: Some(v1::QuotaOverrides {
                requests_per_day: Some(7),
                database_bytes: Some(1 << 20),
                ..Default::default()
            }),
            durability: v1::Durability::Replicated.into(),
            labels: [("plan".to_owned(), "gold".to_owned())].into(),
            domains: vec!["db.acme.example".to_owned()],
        }
        .try_into()
        .unwrap()
    }

    fn quota(requests_per_day: Option<u64>) -> v1::TenantSpec {
        v1::TenantSpec {
            quota: Some(v1::QuotaOverrides {
                requests_per_day,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_path_changes_its_own_field_only() {
        type Expect = fn(&mut TenantSpec);
        let small = v1::TenantSpec {
            tier: v1::Tier::Small.into(),
            ..quota(Some(9))
        };
        let pinned = v1::TenantSpec {
            tier_mode: v1::TierMode::Pinned.into(),
            ..Default::default()
        };
        let cases: [(&v1::TenantSpec, &[&str], Expect); 11] = [
            (&small, &["spec.tier"], |spec| spec.tier = Tier::Small),
            (&small, &["spec.quota.requests_per_day"], |spec| {
                spec.quota.requests_per_day = Some(9)
            }),
            (&small, &["spec.quota"], |spec| {
                (spec.quota.requests_per_day, spec.quota.database_bytes) = (Some(9), None);
            }),
            (&small, &[], |spec| {
                (spec.tier, spec.quota.requests_per_day) = (Tier::Small, Some(9))
            }),
            (&small, &["spec.labels"], |spec| {
                spec.labels = tenantry_types::Labels::default()
            }),
            (&small, &["spec.domains", "spec.domains"], |spec| spec.domains.clear()),
            (&small, &["spec.durability"], |spec| spec.durability = Durability::Local),
            (&small, &["spec.tier_mode"], |spec| {
                spec.tier_policy = TierPolicy::Pinned
            }),
            (&small, &["spec.max_tier"], |spec| {
                spec.tier_policy = TierPolicy::Auto {
                    max_tier: Tier::Enterprise,
                };
            }),
            (&quota(None), &["spec.quota.requests_per_day"], |spec| {
                spec.quota.requests_per_day = None
            }),
            (&pinned, &[], |spec| spec.tier_policy = TierPolicy::Pinned),
        ];
        for (new, paths, expect) in cases {
            let mut expected = current();
            expect(&mut expected);
            let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
            assert_eq!(apply_update_mask(&current(), new, &paths), Ok(expected), "{paths:?}");
        }
    }

    #[test]
    fn everything_can_be_replaced_at_once() {
        let all = TenantSpec::try_from(quota(Some(9))).unwrap();
        for path in ["*", "spec"] {
            let replaced = apply_update_mask(&current(), &quota(Some(9)), &[path.to_owned()]);
            assert_eq!(replaced, Ok(all.clone()));
        }
    }

    #[test]
    fn what_cannot_be_accepted_is_named() {
        let bounded = v1::TenantSpec {
            tier_mode: v1::TierMode::Pinned.into(),
            max_tier: v1::Tier::Large.into(),
            ..quota(Some(0))
        };
        let cases = [
            ("spec.quota.requests_per_day", "spec.quota.requests_per_day"),
            ("spec.colour", "update_mask"),
            ("spec.quota.", "update_mask"),
            ("status.state", "update_mask"),
            ("sp", "update_mask"),
            ("", "update_mask"),
            ("spec", "spec.max_tier"),
        ];
        for (path, field) in cases {
            let error = apply_update_mask(&current(), &bounded, &[path.to_owned()]).unwrap_err();
            assert_eq!(error.field, field, "{path}");
        }
    }

    /// A field that is added to the spec must be added here, too.
    #[test]
    fn every_field_of_the_spec_has_a_path() {
        let v1::TenantSpec {
            tier: _,
            tier_mode: _,
            max_tier: _,
            quota: Some(quota),
            durability: _,
            labels: _,
            domains: _,
        } = v1::TenantSpec::from(&current())
        else {
            panic!("the spec was given a quota");
        };
        let v1::QuotaOverrides {
            database_bytes: _,
            requests_per_day: _,
            burst: _,
            concurrent_requests: _,
            query_time_ms: _,
            memory_bytes: _,
            cpu_millicores: _,
            result_bytes: _,
            request_bytes: _,
        } = quota;
        assert_eq!(FIELDS.len(), 6 + 9);
    }
}
