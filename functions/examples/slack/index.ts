// Slack is a Shardmill function: it makes of each strong earthquake a message as Slack's incoming webhooks take them, and of several in one batch one
// message. The messages go to the stream `slack`; called directly with one event it answers with its message.
import type { Handlers, Payload } from "shardmill";
import { type Quake, isQuake, message } from "./message";

const least = 5; // magnitude

/** The value of JSON; of what is none, undefined. */
function read(p: Payload): unknown {
  try {
    return p.json();
  } catch {
    return undefined;
  }
}

export default {
  batch(records, ctx) {
    const strong: Quake[] = [];
    for (const r of records) {
      const quake = read(r);
      if (!isQuake(quake)) ctx.reject(r, "not an earthquake");
      else if (quake.mag < least) ctx.drop(r);
      else strong.push(quake);
    }
    if (strong.length > 0) ctx.emit("slack", { key: "#earthquakes", data: message(strong) });
  },
  invoke(body) {
    const quake = read(body);
    if (!isQuake(quake)) throw new TypeError("the body must be an earthquake, as the USGS feed has them");
    return message([quake]);
  },
} satisfies Handlers;
