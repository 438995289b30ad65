//! A tenant's spec as flags: for `create` as it is, for `update` with a mask of what was given.

use std::collections::BTreeMap;

use clap::ValueEnum;
use tenantry_proto::v1;
use tenantry_types::{DomainName, TenantName, Tier};

use super::quota_arguments::QuotaArguments;
use crate::failure::Failure;
use crate::output::protocol_names::tier_message;
use crate::resource_name;

/// What a tenant shall be.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SpecArguments {
    /// Contracted tier: micro, small, medium, large or enterprise
    #[arg(long)]
    pub(crate) tier: Option<Tier>,
    /// Let the control plane follow the observed class
    #[arg(long)]
    pub(crate) auto: bool,
    /// Largest tier that --auto may choose
    #[arg(long, value_name = "TIER")]
    pub(crate) max_tier: Option<Tier>,
    /// When a write is acknowledged
    #[arg(long, value_enum)]
    pub(crate) durability: Option<DurabilityArgument>,
    /// A free-form pair; may be repeated. An update replaces all pairs
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// A further host that leads to the tenant; may be repeated. An update replaces all hosts
    #[arg(long = "domain", value_name = "HOST", value_parser = DomainName::new)]
    pub(crate) domains: Vec<DomainName>,
    #[command(flatten)]
    pub(crate) quota: QuotaArguments,
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArgument {
    /// After the fsync on the serving node
    Local,
    /// After it is in the object store
    Replicated,
}

/// What an update can return to its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unset {
    RequestsPerDay,
    Storage,
    /// --requests-per-second and --burst
    Burst,
    Concurrent,
    QueryTimeMs,
    MaxTier,
    Durability,
    Labels,
    Domains,
}

impl Unset {
    const fn path(self) -> &'static str {
        match self {
            Self::RequestsPerDay => "spec.quota.requests_per_day",
            Self::Storage => "spec.quota.database_bytes",
            Self::Burst => "spec.quota.burst",
            Self::Concurrent => "spec.quota.concurrent_requests",
            Self::QueryTimeMs => "spec.quota.query_time_ms",
            Self::MaxTier => "spec.max_tier",
            Self::Durability => "spec.durability",
            Self::Labels => "spec.labels",
            Self::Domains => "spec.domains",
        }
    }
}

/// What shall change.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UpdateArguments {
    /// Which tenant
    pub(crate) name: TenantName,
    #[command(flatten)]
    pub(crate) spec: SpecArguments,
    /// Leave the tier to the operator alone
    #[arg(long, conflicts_with_all = ["auto", "max_tier"])]
    pub(crate) pinned: bool,
    /// Return to the default, a limit to the tier's; may be repeated
    #[arg(long, value_name = "FIELD", value_enum)]
    pub(crate) unset: Vec<Unset>,
    /// Only if the tenant still has this etag
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) etag: String,
}

impl SpecArguments {
    pub(crate) fn message(&self) -> Result<v1::TenantSpec, Failure> {
        let mut labels = BTreeMap::new();
        for (key, value) in &self.labels {
            if labels.insert(key.clone(), value.clone()).is_some() {
                return Err(Failure::usage(format!("--label {key} is given twice")));
            }
        }
        let durability = match self.durability {
            None => v1::Durability::Unspecified,
            Some(DurabilityArgument::Local) => v1::Durability::Local,
            Some(DurabilityArgument::Replicated) => v1::Durability::Replicated,
        };
        let tier_mode = if self.auto {
            v1::TierMode::Auto
        } else {
            v1::TierMode::Unspecified
        };
        Ok(v1::TenantSpec {
            tier: tier_message(self.tier).into(),
            tier_mode: tier_mode.into(),
            max_tier: tier_message(self.max_tier).into(),
            quota: Some(self.quota.overrides()),
            durability: durability.into(),
            labels,
            domains: self.domains.iter().map(ToString::to_string).collect(),
        })
    }

    fn paths(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.tier.is_some(), "spec.tier"),
            (self.auto, "spec.tier_mode"),
            (self.max_tier.is_some(), "spec.max_tier"),
            (self.durability.is_some(), "spec.durability"),
            (!self.labels.is_empty(), "spec.labels"),
            (!self.domains.is_empty(), "spec.domains"),
        ]
        .into_iter()
        .filter_map(|(given, path)| given.then_some(path))
        .chain(self.quota.paths())
    }
}

impl UpdateArguments {
    pub(crate) fn request(&self) -> Result<v1::UpdateTenantRequest, Failure> {
        let mut spec = self.spec.message()?;
        let mut paths: Vec<&str> = self.spec.paths().collect();
        if self.pinned {
            spec.tier_mode = v1::TierMode::Pinned.into();
            // A pinned tier has no largest one: what an earlier --max-tier set must go.
            paths.extend(["spec.tier_mode", "spec.max_tier"]);
        }
        for unset in &self.unset {
            let path = unset.path();
            if self.spec.paths().any(|given| given == path) {
                return Err(Failure::usage(format!("{path} is both given and --unset")));
            }
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Err(
                Failure::usage("nothing to change").with_hint("`tenantctl tenant update --help` lists what can be")
            );
        }
        Ok(v1::UpdateTenantRequest {
            tenant: Some(v1::Tenant {
                name: resource_name::tenant(&self.name),
                spec: Some(spec),
                etag: self.etag.clone(),
                ..v1::Tenant::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.into_iter().map(str::to_owned).collect(),
            }),
            ..v1::UpdateTenantRequest::default()
        })
    }
}

pub(crate) fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Update {
        #[command(flatten)]
        update: UpdateArguments,
    }

    fn update(flags: &str) -> Result<v1::UpdateTenantRequest, String> {
        let words = ["update", "acme"].into_iter().chain(flags.split_whitespace());
        let parsed = Update::try_parse_from(words).map_err(|error| error.to_string())?;
        parsed.update.request().map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn the_mask_of_an_update_names_exactly_what_was_given() {
        let cases = [
            ("--tier large", "spec.tier"),
            ("--auto --max-tier large", "spec.tier_mode spec.max_tier"),
            ("--pinned", "spec.tier_mode spec.max_tier"),
            (
                "--storage 1MiB --requests-per-day 20",
                "spec.quota.database_bytes spec.quota.requests_per_day",
            ),
            ("--requests-per-second 5 --burst 10", "spec.quota.burst"),
            (
                "--concurrent 2 --unset storage",
                "spec.quota.concurrent_requests spec.quota.database_bytes",
            ),
            ("--label a=b --domain db.acme.example", "spec.labels spec.domains"),
            ("--unset labels --unset labels", "spec.labels"),
            (
                "--durability replicated --query-time-ms 9",
                "spec.durability spec.quota.query_time_ms",
            ),
        ];
        for (flags, expected) in cases {
            assert_eq!(
                update(flags).unwrap().update_mask.unwrap().paths.join(" "),
                expected,
                "{flags}"
            );
        }
    }

    #[test]
    fn the_values_of_an_update_reach_the_message() {
        let request =
            update("--tier large --storage 1MiB --label a=b=c --requests-per-second 5 --burst 10 --etag 7").unwrap();
        let tenant = request.tenant.unwrap();
        let spec = tenant.spec.unwrap();
        assert_eq!((tenant.name.as_str(), tenant.etag.as_str()), ("tenants/acme", "7"));
        assert_eq!((spec.tier(), spec.labels["a"].as_str()), (v1::Tier::Large, "b=c"));
        let quota = spec.quota.unwrap();
        assert_eq!((quota.database_bytes, quota.requests_per_day), (Some(1 << 20), None));
        assert_eq!(
            quota.burst.map(|burst| (burst.requests_per_second, burst.size)),
            Some((5, 10))
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_sent() {
        let cases = [
            ("", "nothing to change"),
            ("--storage 1MiB --unset storage", "spec.quota.database_bytes is both"),
            ("--label a=b --label a=c", "--label a is given twice"),
            ("--label novalue", "write KEY=VALUE"),
            ("--burst 5", "--requests-per-second"),
            ("--pinned --auto", "cannot be used with"),
            ("--tier huge", "is not a tier"),
            ("--storage 1XiB", "is not a size"),
            ("--requests-per-day 0", "--requests-per-day"),
            ("--domain localhost", "labels joined by dots"),
        ];
        for (flags, expected) in cases {
            let error = update(flags).unwrap_err();
            assert!(error.contains(expected), "{flags}: {error}");
        }
    }
}
