//! The figures of one tenant's requests: counted on the request's way, read by whoever asks.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tenantry_types::{TenantName, TenantUid};

use super::answer::{AnswerClass, ClassCounts};
use super::error_rate::ErrorRate;
use super::last_minute::LastMinute;
use super::peak_rpm::PeakRpm;
use super::response_time::{ResponseHistogram, ResponseTimes};
use crate::clock::Now;

/// Shares of answers in the last hour, 0 to 1; `None` without answers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ratios {
    /// 5xx other than 507.
    pub server_error: Option<f64>,
    /// 4xx other than 429.
    pub client_error: Option<f64>,
    /// 429.
    pub throttled: Option<f64>,
}

/// The figures of one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestFigures {
    /// Requests being served.
    pub concurrent: u32,
    /// Requests that came in the last 60 seconds.
    pub requests_last_minute: u64,
    /// 5xx other than 507, and answers that broke off, in the last 60 seconds.
    pub errors_last_minute: u64,
    /// Requests that came in the busiest minute of the last 60, the running one included.
    pub peak_requests_per_minute: u64,
    /// Requests that came in the last 60 minutes: how busy the tenant is.
    pub requests_last_hour: u64,
    /// From arrival to the end of the answer, over the last 5 minutes, 429 left out; `None` without answers.
    pub average_response_micros: Option<u64>,
    /// Shares of answers.
    pub ratios: Ratios,
    /// Answers since the meter was made.
    pub answers: ClassCounts,
    /// Response times since the meter was made, 429 left out.
    pub response_times: ResponseHistogram,
}

/// Figures of one tenant.
#[derive(Debug)]
pub struct TenantMeter {
    uid: TenantUid,
    name: TenantName,
    in_flight: AtomicU32,
    /// Whether it is among those that [`super::MeterRegistry::take_active`] gives next.
    noted: AtomicBool,
    windows: Mutex<Windows>,
}

#[derive(Debug)]
struct Windows {
    answers: ClassCounts,
    peak_rpm: PeakRpm,
    last_minute: LastMinute,
    response_times: ResponseTimes,
    error_rate: ErrorRate,
}

impl TenantMeter {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(uid: TenantUid, name: TenantName) -> Self {
        Self {
            uid,
            name,
            in_flight: AtomicU32::new(0),
            noted: AtomicBool::new(false),
            windows: Mutex::new(Windows {
                answers: ClassCounts::default(),
                peak_rpm: PeakRpm::new(),
                last_minute: LastMinute::new(),
                response_times: ResponseTimes::new(),
                error_rate: ErrorRate::new(),
            }),
        }
    }

    /// Whose.
    #[must_use]
    pub const fn uid(&self) -> TenantUid {
        self.uid
    }

    /// Whose, for labels.
    #[must_use]
    pub const fn name(&self) -> &TenantName {
        &self.name
    }

    /// Takes note of it; whether nobody had before.
    pub(super) fn note(&self) -> bool {
        // The load spares a busy tenant's requests the write to a line that all its cores share.
        !self.noted.load(Ordering::Relaxed) && !self.noted.swap(true, Ordering::AcqRel)
    }

    /// The next request is noted again.
    pub(super) fn was_taken(&self) {
        self.noted.store(false, Ordering::Release);
    }

    /// Answers so far, of all classes.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.windows.lock().answers.total()
    }

    /// A request came. Every call is followed by one of [`Self::ended`].
    pub fn began(&self, now: Now) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        let mut windows = self.windows.lock();
        windows.peak_rpm.record(now.steady);
        windows.last_minute.request(now.steady);
    }

    /// The answer to a request ended after `time`.
    pub fn ended(&self, now: Now, class: AnswerClass, time: Duration) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        let mut windows = self.windows.lock();
        windows.answers.add(class);
        windows.error_rate.record(now.steady, class);
        if class == AnswerClass::ServerError {
            windows.last_minute.error(now.steady);
        }
        // How soon a tenant is refused says nothing about how soon it is served.
        if class != AnswerClass::Throttled {
            windows.response_times.record(now.steady, time);
        }
    }

    /// The figures of this moment. Changes nothing but windows that slide.
    pub fn figures(&self, now: Now) -> RequestFigures {
        let mut windows = self.windows.lock();
        let (requests_last_minute, errors_last_minute) = windows.last_minute.totals(now.steady);
        RequestFigures {
            requests_last_minute,
            errors_last_minute,
            concurrent: self.in_flight.load(Ordering::Acquire),
            peak_requests_per_minute: windows.peak_rpm.peak(now.steady),
            requests_last_hour: windows.peak_rpm.total(now.steady),
            average_response_micros: windows.response_times.average_micros(now.steady),
            ratios: Ratios {
                server_error: windows.error_rate.ratio(now.steady, AnswerClass::ServerError),
                client_error: windows.error_rate.ratio(now.steady, AnswerClass::ClientError),
                throttled: windows.error_rate.ratio(now.steady, AnswerClass::Throttled),
            },
            answers: windows.answers,
            response_times: *windows.response_times.histogram(),
        }
    }

    /// The response time in seconds that a share `q` (0 to 1) of the answers of the last 5 minutes did not exceed.
    pub fn response_quantile_seconds(&self, now: Now, q: f64) -> Option<f64> {
        self.windows.lock().response_times.quantile_seconds(now.steady, q)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now_at;

    #[test]
    fn a_recorded_hour_gives_the_figures_that_a_reader_of_the_log_would_give() {
        let meter = TenantMeter::new(TenantUid::from_u128(1), TenantName::new("acme").unwrap());
        // at ms, status, milliseconds
        let log = [
            (1_000, AnswerClass::Success, 10),
            (2_000, AnswerClass::Success, 30),
            (3_000, AnswerClass::ServerError, 50),
            (70_000, AnswerClass::Throttled, 0),
            (200_000, AnswerClass::ClientError, 10),
        ];
        for (at, class, took) in log {
            meter.began(now_at(at));
            meter.ended(now_at(at), class, Duration::from_millis(took));
            if at == 3_000 {
                let figures = meter.figures(now_at(at));
                assert_eq!((figures.requests_last_minute, figures.errors_last_minute), (3, 1));
            }
        }
        meter.began(now_at(250_000));
        let figures = meter.figures(now_at(250_000));
        assert_eq!((figures.peak_requests_per_minute, figures.requests_last_hour), (3, 6));
        assert_eq!((figures.requests_last_minute, figures.errors_last_minute), (2, 0));
        assert_eq!(figures.average_response_micros, Some(25_000));
        assert_eq!(figures.ratios.server_error, Some(0.2));
        assert_eq!(figures.ratios.client_error, Some(0.2));
        assert_eq!(figures.ratios.throttled, Some(0.2));
        assert_eq!(figures.concurrent, 1);

        // A silent hour later, without a write in between.
        let figures = meter.figures(now_at(250_000 + 3_600_000));
        assert_eq!((figures.peak_requests_per_minute, figures.requests_last_hour), (0, 0));
        assert_eq!(figures.average_response_micros, None);
        assert_eq!(figures.ratios, Ratios::default());
        assert_eq!(figures.answers.total(), 5);
    }
}
