package runtime

import (
	"strings"
	"testing"
	"time"
)

// TestScriptMarks has a script walk over its records in every way: where a walk says which record it is at, what it does then is on that record's account, and
// where none does, on no record's.
func TestScriptMarks(t *testing.T) {
	w := open(t)
	w.deployScript(t, "f", `
import type { Handlers, Record } from "shardmill";
let x = 1;
function work(r: Record): boolean {
	if (!r.key.startsWith("dear")) return false;
	for (let n = 5000; n > 0; n--) { x ^= x << 13; x ^= x >>> 17; x ^= x << 5; }
	return false;
}
const later = (all: Record[]) => { for (const r of all) work(r); };
const walks: { [name: string]: (all: readonly Record[]) => unknown } = {
	of(all) { for (const r of all) work(r); },
	values(all) { for (const r of all.values()) work(r); },
	entries(all) { for (const [i, r] of all.entries()) if (r === all[i]) work(r); },
	forEach(all) { all.forEach(work); },
	map: (all) => all.map(work),
	flatMap: (all) => all.flatMap((r) => [work(r)]),
	filter: (all) => all.filter(work),
	some: (all) => all.some(work),
	every: (all) => all.every((r) => !work(r)),
	find: (all) => all.find(work),
	findLast: (all) => all.findLast(work),
	reduce: (all) => all.reduce((n, r) => n + +work(r), 0),
	reduceRight: (all) => all.reduceRight((n, r) => n + +work(r), 0),
	copies(all) { for (const r of all.filter((r) => r.length > 0).slice(1).toSorted((a, b) => b.index - a.index).toReversed()) work(r); },
	async await(all) { for (const r of all) { await null; work(r); } },
	none_mapped(all) { later(all.map((r) => r)); },
	none_spread(all) { later([...all]); },
	none_reduced(all) { later(all.reduce<Record[]>((list, r) => { list.push(r); return list; }, [])); },
	none_found(all) { let found; for (found of all) if (found.index === 2) break; later([found!]); },
};
export default { batch: (records, ctx) => { if (records.length !== 3 || !Array.isArray(records) || Object.keys(records).join() !== "0,1,2") throw new Error("no array"); return walks[ctx.mapping](records) as void; } } satisfies Handlers;
`, Config{Timeout: time.Minute, Concurrency: 1})
	var names []string
	for _, name := range strings.Fields("of values entries forEach map flatMap filter some every find findLast reduce reduceRight copies await none_mapped none_spread none_reduced none_found") {
		call := Call{Function: "f", Kind: KindBatch, Source: Source{Mapping: name, Stream: "s"}}
		for n, key := range []string{"cheap", "cheap", "dear " + name} {
			call.Records = append(call.Records, burning(t, uint64(n), []string{key}, nil))
		}
		var reply Reply
		if err := w.Invoke(t.Context(), call, &reply); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, "none") {
			names = append(names, "dear "+name)
		}
	}
	costs, err := w.Costs("f")
	if err != nil {
		t.Fatal(err)
	}
	fuel := map[string]int64{}
	for _, k := range costs.Keys {
		fuel[k.Key] = k.Fuel
	}
	each := costs.Fuel / int64(costs.Calls)
	for _, name := range names {
		if fuel[name] < each/2 {
			t.Errorf("%s: %d, of %d a call", name, fuel[name], each)
		}
	}
	delete(fuel, "cheap")
	if len(fuel) > len(names) {
		t.Errorf("%v", fuel)
	}
}

// TestScriptKeptRecords has records used when their handler has ended.
func TestScriptKeptRecords(t *testing.T) {
	w := open(t)
	w.deployScript(t, "f", `
let kept: any;
export default {
	batch(records: any, ctx: any) {
		if (!kept) { kept = records[0]; return; }
		for (const use of [() => kept.length, () => kept.key, () => kept.data, () => kept.text, () => kept.json(), () => kept.sequence, () => kept.time, () => kept.hashKey, () => ctx.emit("a", kept)]) {
			try { console.log("used:", use.toString(), use()); } catch (e: any) { if (!e.message.includes("after its handler has ended")) throw e; }
		}
	},
};
`, Config{Concurrency: 1, Emit: []string{"a"}})
	for range 2 {
		if _, err := w.batch(t, "f", records(t, "k", "{}")); err != nil {
			t.Fatal(err)
		}
	}
	if lines := w.logsOf(t, "f"); len(lines) > 0 || len(w.emitted.records) > 0 {
		t.Errorf("%q, emitted %q", lines, w.emitted.records)
	}
}
