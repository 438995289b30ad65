//! Everything that rules, dashboards and their variables ask of Prometheus, asked.

use std::collections::BTreeSet;
use std::time::Duration;

use process_tests::Prometheus;
use process_tests::{skip, value_of};
use serde_json::Value;

use crate::live::{RARE, expressions, variables};
use crate::prometheus::{self, Waits};
use crate::promql::reads;
use crate::traffic::BusyCluster;
use crate::{dashboards, rules};

const PATIENCE: Duration = Duration::from_secs(90);

/// Series that need not be there: the rare ones, and what is recorded from them.
fn may_be_absent() -> BTreeSet<String> {
    let mut absent: BTreeSet<String> = RARE.iter().map(|(name, _)| (*name).to_owned()).collect();
    for rule in rules::recorded() {
        if reads(&rule.expression).series.keys().any(|name| absent.contains(name)) {
            absent.insert(rule.name);
        }
    }
    absent
}

/// Every label that an expression matches or groups by is on a series that Prometheus has.
fn unknown_labels(prometheus: &Prometheus, absent: &BTreeSet<String>) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    let mut asked = BTreeSet::new();
    for (place, expression) in expressions() {
        for (name, labels) in reads(&expression).series {
            for label in labels.iter().filter(|_| !absent.contains(&name)) {
                if asked.insert((name.clone(), label.clone()))
                    && prometheus.count(&format!("{name}{{{label}!=\"\"}}"))? == 0
                {
                    unknown.push(format!("{place}: no {name} with the label {label}"));
                }
            }
        }
    }
    Ok(unknown)
}

#[test]
fn prometheus_evaluates_every_rule_and_answers_every_panel_with_series() {
    let busy = BusyCluster::start();
    let folder = tempfile::tempdir().unwrap();
    let Some(prometheus) = prometheus::start(folder.path(), &busy.cluster, Waits::Whole) else {
        return skip(
            "prometheus_evaluates_every_rule_and_answers_every_panel_with_series",
            "prometheus is not installed",
        );
    };
    value_of("every rule to be evaluated without an error", PATIENCE, || {
        let told = prometheus.ask("/api/v1/rules")?;
        let groups = told["groups"].as_array().unwrap().iter();
        let found: Vec<&Value> = groups.flat_map(|group| group["rules"].as_array().unwrap()).collect();
        assert_eq!(found.len(), rules::alerts().len() + rules::recorded().len());
        let sick: Vec<_> = found.iter().filter(|rule| rule["health"] != "ok").collect();
        if sick.is_empty() {
            Ok(())
        } else {
            Err(format!("{sick:?}"))
        }
    });
    let absent = may_be_absent();
    // Nothing to see without a fault, or without the past that it compares with.
    let may_be_empty = |expression: &str| {
        let names = reads(expression).series.into_keys();
        expression.contains("offset")
            || expression.contains("> 0")
            || expression.contains("ALERTS")
            || names.into_iter().any(|name| absent.contains(&name))
    };
    for rule in rules::alerts() {
        prometheus
            .count(&rule.expression)
            .unwrap_or_else(|error| panic!("{}: {error}", rule.name));
    }
    let panels: Vec<_> = dashboards::all()
        .iter()
        .flat_map(dashboards::Dashboard::expressions)
        .chain(variables())
        .collect();
    let recorded = rules::recorded().into_iter().map(|rule| (rule.name.clone(), rule.name));
    let shown: Vec<_> = panels.into_iter().chain(recorded).collect();
    let certain = shown.iter().filter(|(_, expression)| !may_be_empty(expression)).count();
    assert!(
        certain > 80,
        "only {certain} of {} expressions have to yield something",
        shown.len()
    );
    value_of("every panel to show something", PATIENCE, || {
        let mut empty = Vec::new();
        for (place, expression) in &shown {
            let count = prometheus
                .count(expression)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            if count == 0 && !may_be_empty(expression) {
                empty.push(format!("{place}: nothing for {expression}"));
            }
        }
        empty.extend(unknown_labels(&prometheus, &absent)?);
        if empty.is_empty() {
            Ok(())
        } else {
            Err(empty.join("\n"))
        }
    });
    // The tenant whose day is used up is on its way to an alert; nothing wakes anybody. Who else fills this machine's disk meanwhile is
    // not the cluster's doing.
    value_of("a pending alert", PATIENCE, || {
        match prometheus
            .count("ALERTS{alertname=\"TenantryTenantDayNearlyUsed\", alertstate=\"pending\", tenant=\"spent\"}")?
        {
            1 => Ok(()),
            count => Err(count.to_string()),
        }
    });
    assert_eq!(
        prometheus.count("ALERTS{severity=\"critical\", alertname!=\"TenantryDiskFullSoon\"}"),
        Ok(0)
    );
}
