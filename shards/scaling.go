package shards

import (
	"cmp"
	"slices"
	"time"
)

// Scaling says when the shards of streams that are on demand are split and merged. The zero value of a field means its default.
//
// A shard is what one consumer reads in order, so that splitting buys parallelism of consumers, not of puts. The thresholds are
// therefore what consumers that were written for Kinesis expect of a shard at most, halved as Kinesis does, which keeps capacity for
// twice the traffic: a sudden rise is within the limits until it has been answered with a split.
type Scaling struct {
	Interval  time.Duration // how often the traffic is looked at; 0: 10 seconds, negative: never
	Bytes     float64       // a shard that takes more, encoded, in a second is hot; 0: 512 KiB
	Records   float64       // the same, in records; 0: 500
	HotFor    time.Duration // how long a shard is hot before it is split; 0: 30 seconds
	ColdFor   time.Duration // how long shards are cold (below an eighth of both) before two are merged; 0: 15 minutes
	MinShards int           // that merging leaves; 0: 4
	MaxShards int           // that splitting makes; 0: 200
}

func (s Scaling) withDefaults() Scaling {
	s.Interval = cmp.Or(s.Interval, 10*time.Second)
	s.Bytes = cmp.Or(s.Bytes, limitBytes/2)
	s.Records = cmp.Or(s.Records, limitRecords/2)
	s.HotFor = cmp.Or(s.HotFor, 30*time.Second)
	s.ColdFor = cmp.Or(s.ColdFor, 15*time.Minute)
	s.MinShards = cmp.Or(s.MinShards, OnDemandShards)
	s.MaxShards = min(cmp.Or(s.MaxShards, 200), MaxShards)
	return s
}

// watch is what the scaler remembers of a shard.
type watch struct {
	seen           bool
	records, bytes uint64        // when it looked last
	hot, cold      time.Duration // for how long it has been
	samples        []Hash        // of the time that it has been hot
}

// look brings a watch up to date with the counts after an interval.
func (w *watch) look(s Scaling, records, bytes uint64, samples []Hash, passed time.Duration) {
	recordRate := float64(records-w.records) / passed.Seconds()
	byteRate := float64(bytes-w.bytes) / passed.Seconds()
	first := !w.seen
	w.seen, w.records, w.bytes = true, records, bytes
	switch {
	case first: // the counts may be of any time
		return
	case recordRate > s.Records || byteRate > s.Bytes:
		w.hot, w.cold = w.hot+passed, 0
		w.samples = append(w.samples, samples...)
		w.samples = w.samples[max(0, len(w.samples)-4*sampleSize):]
		return
	case recordRate < s.Records/8 && byteRate < s.Bytes/8:
		w.cold += passed
	default:
		w.cold = 0
	}
	w.hot, w.samples = 0, nil
}

// observed is an open shard with what was seen of it.
type observed struct {
	id ShardID
	hashRange
	hot, cold time.Duration
	samples   []Hash
}

// scaled is what is to be done: splits, and merges of neighbours. No shard is in two of them.
type scaled struct {
	splits []splitAt
	merges [][2]ShardID
}

type splitAt struct {
	id ShardID
	at Hash
}

// scale decides what to do with the open shards of a stream, which come by range. listed is the number of all its shards: when
// closed ones have taken up three quarters of what a definition holds, nothing is merged any more.
func (s Scaling) scale(shards []observed, listed int) scaled {
	var out scaled
	n := len(shards)
	hottest := slices.Clone(shards)
	slices.SortStableFunc(hottest, func(a, b observed) int { return cmp.Compare(b.hot, a.hot) })
	for _, o := range hottest {
		if o.hot < s.HotFor || n >= s.MaxShards || listed+2 > MaxListedShards {
			break
		}
		if at, ok := o.median(); ok {
			out.splits = append(out.splits, splitAt{o.id, at})
			n++
			listed += 2
		}
	}
	if len(out.splits) > 0 || listed > MaxListedShards*3/4 {
		return out
	}
	for i := 0; i+1 < len(shards) && n > s.MinShards; i++ {
		if a, b := shards[i], shards[i+1]; a.cold >= s.ColdFor && b.cold >= s.ColdFor {
			out.merges = append(out.merges, [2]ShardID{a.id, b.id})
			n--
			i++
		}
	}
	return out
}

const (
	fewSamples = 64 // with less the middle of the range is as good a guess
	leastShare = 10 // of a hundred samples, on the smaller side of a split
)

// median is where to split a shard so that both halves get as near to half of its traffic as can be. False: most of it is of
// one hash key, which no split divides.
func (o *observed) median() (Hash, bool) {
	if o.narrow() {
		return Hash{}, false
	}
	low, high := o.start.next().next(), o.end.previous() // of where a shard may be split
	if len(o.samples) < fewSamples {
		return o.middle(), true
	}
	keys := slices.Clone(o.samples)
	slices.SortFunc(keys, Hash.Compare)
	best, at := 0, Hash{}
	for i := 1; i < len(keys); i++ { // keys[:i] would go to the lower child
		smaller := min(i, len(keys)-i)
		if smaller > best && keys[i-1] != keys[i] && low.Compare(keys[i]) <= 0 && keys[i].Compare(high) <= 0 {
			best, at = smaller, keys[i]
		}
	}
	return at, best*100 >= leastShare*len(keys)
}
