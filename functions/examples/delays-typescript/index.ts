// Delays is a Shardmill function: for every batch of flights it emits, per origin airport, how many flights left and by how many
// minutes they were late together.
import type { Handlers } from "shardmill";

interface Flight {
  origin: string;
  delay: number; // minutes; less than 0 when it left early
}

const isFlight = (f: any): f is Flight => typeof f?.origin === "string" && f.origin !== "" && Number.isInteger(f.delay ?? 0);

export default {
  batch(records, ctx) {
    const totals = new Map<string, { flights: number; delay: number }>(); // in the order in which the airports appear
    for (const r of records) {
      let flight: unknown;
      try {
        flight = r.json();
      } catch {
        // Whatever it is, it is no flight.
      }
      if (!isFlight(flight)) {
        ctx.reject(r, "not a flight");
        continue;
      }
      let total = totals.get(flight.origin);
      if (!total) totals.set(flight.origin, (total = { flights: 0, delay: 0 }));
      total.flights++;
      total.delay += flight.delay ?? 0;
    }
    for (const [origin, { flights, delay }] of totals) {
      ctx.emit("delays", { key: origin, data: { origin, flights, delayMinutes: delay } });
    }
  },
} satisfies Handlers;
