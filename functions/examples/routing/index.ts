// Routing is a Shardmill function: it sends each seismic event on, as it is, to the streams of those who want it, and sets the rest aside.
import type { Handlers, Record } from "shardmill";

interface Quake {
  type: string; // "earthquake", "quarry blast", "explosion" …
  mag: number;
  tsunami: 0 | 1;
  net: string; // the network that reported it
  coordinates: [longitude: number, latitude: number, depth: number];
}

type Route = [stream: string, wants: (q: Quake) => boolean];

// The first column is in shardmill.yaml, too: what is not granted there is denied.
const routes: Route[] = [
  ["tsunami", (q) => q.tsunami === 1],
  ["strong", (q) => q.type === "earthquake" && q.mag >= 4.5],
  ["alaska", (q) => q.type === "earthquake" && q.net === "ak" && q.mag >= 1],
  ["deep", (q) => q.type === "earthquake" && q.coordinates[2] > 100],
  ["mining", (q) => q.type !== "earthquake"],
];

const isQuake = (q: any): q is Quake => typeof q?.type === "string" && typeof q.mag === "number" && Array.isArray(q.coordinates);

function read(r: Record): Quake | undefined {
  try {
    const q: unknown = r.json();
    return isQuake(q) ? q : undefined;
  } catch {
    return undefined;
  }
}

export default {
  batch(records, ctx) {
    for (const r of records) {
      const quake = read(r);
      if (!quake) {
        ctx.reject(r, "not a seismic event");
        continue;
      }
      let wanted = false;
      for (const [stream, wants] of routes) {
        if (!wants(quake)) continue;
        wanted = true;
        ctx.emit(stream, r);
      }
      if (!wanted) ctx.drop(r, "nobody wants it");
    }
  },
} satisfies Handlers;
