//! Counters of what happened in a run, by name, added up over many runs.

/// What a run counts.
pub trait Tally: Default + Send {
    /// The counters by name.
    fn counters(&self) -> Vec<(&'static str, u64)>;

    /// Adds the counters of another run.
    fn add(&mut self, other: &Self);
}

/// A breach that knows by which seed it can be seen again.
pub trait Seeded: Send {
    /// That seed.
    fn seed(&self) -> u64;
}

/// Declares a struct of counters. Fields before the bar are no counters and are not added up.
macro_rules! counters {
    (
        $(#[$doc:meta])* pub struct $report:ident {
            $($(#[$other_doc:meta])* $other:ident: $type:ty,)* |
            $($(#[$counter_doc:meta])* $name:ident,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $report {
            $($(#[$other_doc])* pub $other: $type,)*
            $($(#[$counter_doc])* pub $name: u64,)*
        }

        impl $crate::tally::Tally for $report {
            fn counters(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }

        impl std::fmt::Display for $report {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                for (name, count) in $crate::tally::Tally::counters(self) {
                    writeln!(f, "{name:>22} {count}")?;
                }
                Ok(())
            }
        }
    };
}

pub(crate) use counters;
