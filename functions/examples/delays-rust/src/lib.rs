//! Delays is a Shardmill function: for every batch of flights it emits, per origin airport, how many flights left and by how many
//! minutes they were late together.

mod json;

use shardmill::{Batch, Result};
use std::collections::HashMap;

shardmill::handler!(delays);

struct Flight<'a> {
    origin: &'a str,
    delay: i64, // minutes; less than 0 when it left early
}

impl<'a> Flight<'a> {
    fn parse(data: &'a [u8]) -> Option<Flight<'a>> {
        let (mut origin, mut delay) = ("", 0);
        for member in json::members(std::str::from_utf8(data).ok()?)? {
            match (member.name, member.value) {
                ("origin", json::Value::String(text)) => origin = text,
                ("origin", _) => return None,
                ("delay", json::Value::Other(number)) => delay = number.parse().ok()?,
                ("delay", _) => return None,
                _ => {}
            }
        }
        // An airport's code has no character that JSON escapes.
        let is_code = !origin.is_empty() && !origin.contains('\\');
        is_code.then(|| Flight { origin, delay })
    }
}

struct Total<'a> {
    origin: &'a str,
    flights: u32,
    delay: i64,
}

fn delays(batch: &mut Batch) -> Result {
    let mut totals: Vec<Total> = Vec::new(); // in the order in which the airports appear
    let mut index = HashMap::new(); // of an airport in totals
    for r in batch.records() {
        let flight = match Flight::parse(r.data) {
            Some(flight) => flight,
            None => {
                batch.reject(r.index, "not a flight");
                continue;
            }
        };
        let at = *index.entry(flight.origin).or_insert(totals.len());
        if at == totals.len() {
            totals.push(Total { origin: flight.origin, flights: 0, delay: 0 });
        }
        totals[at].flights += 1;
        totals[at].delay += flight.delay;
    }
    for t in totals {
        let data = format!(r#"{{"origin":"{}","flights":{},"delayMinutes":{}}}"#, t.origin, t.flights, t.delay);
        batch.emit("delays", t.origin, data);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use shardmill::testing;

    #[test]
    fn totals_per_airport() {
        let flights = [
            ("DFW", r#"{"date":"2001-01-01","delay":5,"origin":"DFW"}"#),
            ("JFK", r#"{"origin":"JFK","delay":-1}"#),
            ("DFW", r#"{"origin":"DFW","delay":7}"#),
        ];
        let said = testing::batch(super::delays, &flights).unwrap();
        assert_eq!(said.outcomes, ["ok", "ok", "ok"]);
        assert_eq!(
            said.emitted("delays"),
            [r#"DFW {"origin":"DFW","flights":2,"delayMinutes":12}"#, r#"JFK {"origin":"JFK","flights":1,"delayMinutes":-1}"#]
        );
    }

    #[test]
    fn what_is_no_flight_is_rejected() {
        let bad = [r#"{"delay":3}"#, r#"{"origin":"DFW""#, r#"{"origin":"DFW","delay":1.5}"#, "", "[]", r#"{"origin":1}"#];
        for data in bad {
            let said = testing::batch(super::delays, &[("k", data)]).unwrap();
            assert_eq!((&said.outcomes[0][..], said.emitted.len()), ("rejected: not a flight", 0), "{}", data);
        }
    }
}
