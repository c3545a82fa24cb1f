// Enrich is a Shardmill function: to each flight it adds what the state table airports has of its origin and its destination.

import { Batch, Bytes, Code, Json, Kind, Table, onBatch, refusal } from "shardmill";
export * from "shardmill/exports";

const json = new Json();

onBatch((batch: Batch): void => {
  const airports = new Airports();
  while (batch.next()) {
    const r = batch.record;
    const flight = codesOf(r.data);
    if (!flight) {
      batch.reject(r.index, "not a flight");
      continue;
    }
    const from = airports.find(flight.origin);
    const to = airports.find(flight.destination);
    if (airports.failure != "") return batch.fail(airports.failure);
    if (from == "" || to == "") {
      const missing = from == "" ? flight.origin : flight.destination;
      batch.reject(r.index, `airport ${missing} is not in the table`);
      continue;
    }
    const object = r.data.toString().trimEnd();
    const enriched = `${object.substring(0, object.length - 1)},"from":${from},"to":${to}}`;
    batch.emit("enriched", r.key, Bytes.fromString(enriched));
  }
});

/** The reference table, of which every entry is read once a batch: it may be changed at any time. */
class Airports {
  /** Why the host gave nothing, when it was not that there is no such airport. */
  failure: string = "";
  private table: Table = new Table("airports");
  private read: Map<string, string> = new Map<string, string>();

  /** What the table has of an airport, as JSON; "" when there is nothing. */
  find(code: string): string {
    if (this.read.has(code)) return this.read.get(code);
    const entry = this.table.get(code);
    if (!entry && refusal.code != Code.notFound) this.failure = refusal.reason;
    const value = entry ? entry.value.toString() : "";
    this.read.set(code, value);
    return value;
  }
}

/** The airports of a flight. */
class Flight {
  origin: string = "";
  destination: string = "";
}

/** Null when the data is no flight. */
function codesOf(data: Bytes): Flight | null {
  const flight = new Flight();
  json.begin(data);
  while (json.next()) {
    const isOrigin = json.name.is("origin");
    if (!isOrigin && !json.name.is("destination")) continue;
    if (json.kind != Kind.text) return null;
    if (isOrigin) flight.origin = json.value.toString();
    else flight.destination = json.value.toString();
  }
  return json.bad || flight.origin == "" || flight.destination == "" ? null : flight;
}
