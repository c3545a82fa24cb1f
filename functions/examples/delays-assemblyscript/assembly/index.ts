// Delays is a Shardmill function: for every batch of flights it emits, per origin airport, how many flights left and by how many
// minutes they were late together.

import { Batch, Bytes, Json, Kind, onBatch } from "shardmill";
export * from "shardmill/exports";

class Total {
  flights: i32 = 0;
  delay: i64 = 0; // minutes; less than 0 when they left early
}

const json = new Json();

onBatch((batch: Batch): void => {
  const totals = new Map<string, Total>(); // in the order in which the airports appear
  while (batch.next()) {
    if (!add(totals, batch.record.data)) batch.reject(batch.record.index, "not a flight");
  }
  const airports = totals.keys();
  for (let i = 0; i < airports.length; i++) {
    const t = totals.get(airports[i]);
    batch.emitText("delays", airports[i], `{"origin":"${airports[i]}","flights":${t.flights},"delayMinutes":${t.delay}}`);
  }
});

/** Adds one flight; false when the data is none. */
function add(totals: Map<string, Total>, data: Bytes): bool {
  let origin = "";
  let delay: i64 = 0;
  json.begin(data);
  while (json.next()) {
    if (json.name.is("origin")) {
      if (json.kind != Kind.text) return false;
      origin = json.value.toString();
    } else if (json.name.is("delay")) {
      if (!isWhole(json.value, json.kind)) return false;
      delay = I64.parseInt(json.value.toString());
    }
  }
  // An airport's code has no character that JSON escapes.
  if (json.bad || origin.length == 0 || origin.includes("\\")) return false;
  if (!totals.has(origin)) totals.set(origin, new Total());
  const t = totals.get(origin);
  t.flights++;
  t.delay += delay;
  return true;
}

/** Whether a value is a number without a fraction and an exponent, that fits. */
function isWhole(value: Bytes, kind: Kind): bool {
  return kind == Kind.number && value.length < 18 && value.indexOf(0x2e) < 0 && value.indexOf(0x65) < 0 && value.indexOf(0x45) < 0;
}
