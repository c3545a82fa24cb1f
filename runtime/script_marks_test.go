package runtime

import (
	"strings"
	"testing"
	"time"
)

// marking goes over its records in the way that its mapping is called: the record "dear …" is much work.
const marking = `import type { Handlers, Record } from "shardmill";
let x = 1;
let left: Iterator<Record> | undefined;
function burn(dear: boolean) {
	if (dear) for (let n = 5000; n > 0; n--) { x ^= x << 13; x ^= x >>> 17; x ^= x << 5; }
}
function work(r: Record): boolean {
	burn(r.key.startsWith("dear"));
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
	index(all) { for (let i = 0; i < all.length; i++) work(all[i]); },
	at(all) { for (let i = 0; i < 3; i++) work(all.at(-1 - i)!); },
	text(all) { for (let i = 0; i < 3; i++) burn(all[i].text !== "" && i === 2); },
	json(all) { for (let i = 0; i < 3; i++) { try { all[i].json(); } catch { burn(i === 2); } } },
	data(all) { for (let i = 0; i < 3; i++) burn(all[i].data.length > 0 && i === 2); },
	mapped(all) { later(all.map((r) => r)); },
	spread(all) { later([...all]); },
	reduced(all) { later(all.reduce<Record[]>((list, r) => { list.push(r); return list; }, [])); },
	found(all) { let found; for (found of all) if (found.index === 2) break; later([found!]); },
	others(all) { for (const r of all) { const dear = r.key.startsWith("dear"); all[0].key; burn(dear); } },
	open(all) { const walk = all.values(); walk.next(); walk.next(); walk.next(); all[0].key; burn(true); left = walk; },
	again(all) { left!.return!(); left = undefined; for (let i = 0; i < all.length; i++) work(all[i]); },
	none_behind(all) { for (const r of all) r.key; burn(true); },
	none_counted(all) { for (let i = 0; i < all.length; i++) all[i].length; burn(true); },
};
export default { batch: (records, ctx) => { if (records.length !== 3 || !Array.isArray(records) || Object.keys(records).join() !== "0,1,2") throw new Error("no array"); return walks[ctx.mapping](records) as void; } } satisfies Handlers;
`

// TestScriptMarks has a script go over its records in every way: where a walk says which record it is at, what it does then is on that record's account, without a walk
// on that of the record it has read last, and behind a walk on no record's.
func TestScriptMarks(t *testing.T) {
	w := open(t)
	for function, ways := range map[string]string{
		"walks": "of values entries forEach map flatMap filter some every find findLast reduce reduceRight copies await others none_behind",
		"reads": "index at text json data mapped spread reduced found open again none_counted",
	} {
		w.deployScript(t, function, marking, Config{Timeout: time.Minute, Concurrency: 1})
		var names []string
		for _, name := range strings.Fields(ways) {
			call := Call{Function: function, Kind: KindBatch, Source: Source{Mapping: name, Stream: "s"}}
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
		w.marked(t, function, names)
	}
}

// marked holds that the calls of a function are on the accounts of records with these keys, one each, and on no other's.
func (w *world) marked(t *testing.T, function string, keys []string) {
	t.Helper()
	costs, err := w.Costs(function)
	if err != nil {
		t.Fatal(err)
	}
	fuel := map[string]int64{}
	for _, k := range costs.Keys {
		fuel[k.Key] = k.Fuel
	}
	each := costs.Fuel / int64(costs.Calls)
	for _, key := range keys {
		if fuel[key] < each/2 {
			t.Errorf("%s: %d, of %d a call", key, fuel[key], each)
		}
	}
	delete(fuel, "cheap")
	if len(fuel) > len(keys) {
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
