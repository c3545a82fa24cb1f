/** An event of the USGS feed. */
export interface Quake {
  mag: number;
  place: string;
  time: number; // milliseconds
  url: string;
  alert: "green" | "yellow" | "orange" | "red" | null;
  tsunami: 0 | 1;
  coordinates: [longitude: number, latitude: number, depth: number];
}

export const isQuake = (q: any): q is Quake =>
  typeof q?.mag === "number" && typeof q.place === "string" && typeof q.time === "number" && typeof q.url === "string" && Array.isArray(q.coordinates);

/** Slack's three characters with a meaning (https://api.slack.com/reference/surfaces/formatting). */
const escaped = (text: string): string => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]!);

const sign = (q: Quake): string => (q.tsunami ? ":ocean: " : q.mag >= 6 ? ":rotating_light: " : "");

function section(q: Quake): object {
  const when = new Date(q.time).toISOString().slice(0, 16).replace("T", " ");
  const depth = `${Math.round(q.coordinates[2])} km deep`;
  return {
    type: "section",
    text: { type: "mrkdwn", text: `${sign(q)}*<${q.url}|M ${q.mag.toFixed(1)}> ${escaped(q.place)}*\n${when} UTC, ${depth}` },
  };
}

/** One message about earthquakes, the strongest first. */
export function message(quakes: Quake[]): object {
  const sorted = quakes.toSorted((a, b) => b.mag - a.mag);
  const [first, ...others] = sorted;
  const more = others.length === 0 ? "" : ` and ${others.length} more`;
  return { text: `M ${first.mag.toFixed(1)}: ${first.place}${more}`, blocks: sorted.slice(0, 50).map(section) };
}
