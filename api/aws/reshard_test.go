package aws

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// middle is the middle of all hash keys.
const middle = "170141183460469231731687303715884105728"

func (r *rig) split(name, shard, at string) error {
	_, err := r.SplitShard(r.ctx, &kinesis.SplitShardInput{StreamName: &name, ShardToSplit: &shard, NewStartingHashKey: &at})
	return err
}

func (r *rig) merge(name, shard, adjacent string) error {
	_, err := r.MergeShards(r.ctx, &kinesis.MergeShardsInput{StreamName: &name, ShardToMerge: &shard, AdjacentShardToMerge: &adjacent})
	return err
}

func shardName(i int) string { return shards.ShardID(i).String() }

// shape are the shards of a stream: number, parents and whether it is closed.
func (r *rig) shape(name string) string {
	r.t.Helper()
	var all []string
	for _, s := range ok(r.ListShards(r.ctx, &kinesis.ListShardsInput{StreamName: &name}))(r.t).Shards {
		text := (*s.ShardId)[18:]
		for _, p := range []*string{s.ParentShardId, s.AdjacentParentShardId} {
			if p != nil {
				text += "<" + (*p)[18:]
			}
		}
		if s.SequenceNumberRange.EndingSequenceNumber != nil {
			text += "x"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func TestReshard(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	r.put(name, "a", 2)
	before := r.iterator(name, firstShard)
	r.must(r.split(name, firstShard, middle))
	if got := r.shape(name); got != "00x 01<00 02<00" {
		t.Fatalf("after the split there are %s", got)
	}
	out := ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: before}))(t)
	if len(out.Records) != 2 || out.NextShardIterator != nil || len(out.ChildShards) != 2 || out.ChildShards[0].ParentShards[0] != firstShard ||
		*out.ChildShards[1].HashKeyRange.StartingHashKey != middle {
		t.Errorf("at the end of a closed shard there is %+v", out)
	}
	// KCL asks for the children like this.
	it := ok(r.GetShardIterator(r.ctx, &kinesis.GetShardIteratorInput{StreamName: &name, ShardId: aws.String(firstShard), ShardIteratorType: types.ShardIteratorTypeLatest}))(t).ShardIterator
	if out = ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: it}))(t); out.NextShardIterator != nil || len(out.ChildShards) != 2 || len(out.Records) != 0 {
		t.Errorf("LATEST of a closed shard gives %+v", out)
	}
	list := ok(r.ListShards(r.ctx, &kinesis.ListShardsInput{StreamName: &name}))(t).Shards
	end := list[0].SequenceNumberRange.EndingSequenceNumber
	if *list[1].SequenceNumberRange.StartingSequenceNumber <= *end || *end <= *r.all(name, firstShard)[1].SequenceNumber {
		t.Errorf("the parent ends at %s, a child begins at %s", *end, *list[1].SequenceNumberRange.StartingSequenceNumber)
	}
	for _, kind := range []types.ShardIteratorType{types.ShardIteratorTypeAtSequenceNumber, types.ShardIteratorTypeAfterSequenceNumber} {
		it = ok(r.GetShardIterator(r.ctx, &kinesis.GetShardIteratorInput{StreamName: &name, ShardId: aws.String(firstShard), ShardIteratorType: kind, StartingSequenceNumber: end}))(t).ShardIterator
		if out = ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: it}))(t); len(out.ChildShards) != 2 {
			t.Errorf("%s at the end gives %+v", kind, out)
		}
	}
	r.must(r.merge(name, shardName(1), shardName(2)))
	if got := r.shape(name); got != "00x 01<00x 02<00x 03<01<02" {
		t.Errorf("after the merge there are %s", got)
	}
	res := ok(r.UpdateShardCount(r.ctx, &kinesis.UpdateShardCountInput{StreamName: &name, TargetShardCount: aws.Int32(2), ScalingType: types.ScalingTypeUniformScaling}))(t)
	if *res.CurrentShardCount != 1 || *res.TargetShardCount != 2 || *res.StreamName != name || *r.summary(name).OpenShardCount != 2 {
		t.Errorf("UpdateShardCount is answered %+v", res)
	}
}

func TestReshardRefuses(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 4)
	refused(t, r.split(name, "shardId-000000000009", middle), "ResourceNotFoundException", "Could not find shard shardId-000000000009 in stream s under account 000000000000.")
	refused(t, r.split("nope", firstShard, middle), "ResourceNotFoundException", "Stream nope under account 000000000000 not found.")
	refused(t, r.split(name, firstShard, "x"), "ValidationException", "")
	for _, at := range []string{"0", "1", middle, "340282366920938463463374607431768211456"} {
		refused(t, r.split(name, firstShard, at), "InvalidArgumentException", "NewStartingHashKey "+at+" used in SplitShard() on shard shardId-000000000000 in stream s under account 000000000000 "+
			"is not both greater than one plus the shard's StartingHashKey 0 and less than the shard's EndingHashKey 85070591730234615865843651857942052863.")
	}
	refused(t, r.merge(name, firstShard, shardName(2)), "InvalidArgumentException",
		"Shards shardId-000000000000 and shardId-000000000002 in stream s under account 000000000000 are not an adjacent pair of shards eligible for merging")
	refused(t, r.merge(name, firstShard, shardName(9)), "ResourceNotFoundException", "")
	r.must(r.split(name, firstShard, "2"))
	closed := "Shard shardId-000000000000 in stream s under account 000000000000 has already been merged or split, and thus is not eligible for merging or splitting."
	refused(t, r.split(name, firstShard, "5"), "InvalidArgumentException", closed)
	refused(t, r.merge(name, firstShard, shardName(1)), "InvalidArgumentException", closed)
	count := func(name string, n int32) error {
		_, err := r.UpdateShardCount(r.ctx, &kinesis.UpdateShardCountInput{StreamName: &name, TargetShardCount: &n, ScalingType: types.ScalingTypeUniformScaling})
		return err
	}
	refused(t, count(name, 11), "InvalidArgumentException", "UpdateShardCount cannot scale up over double your current open shard count. Current open shard count: 5 Target shard count: 11")
	refused(t, count(name, 2), "InvalidArgumentException", "UpdateShardCount cannot scale down below half your current open shard count. Current open shard count: 5 Target shard count: 2")
	refused(t, count(name, 0), "ValidationException", "")
	refused(t, count("nope", 1), "ResourceNotFoundException", "")
	ok(r.CreateStream(r.ctx, &kinesis.CreateStreamInput{StreamName: aws.String("d"), StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand}}))(t)
	refused(t, count("d", 4), "ValidationException", "")
	refused(t, r.split("d", firstShard, "5"), "ValidationException", "")
	refused(t, r.merge("d", firstShard, shardName(1)), "ValidationException", "")
}

// TestSubscribeToTheEnd subscribes to a shard that is split meanwhile.
func TestSubscribeToTheEnd(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	tail := r.subscribe(r.consumer(name, "tail"), firstShard, types.ShardIteratorTypeLatest)
	want := r.put(name, "a", 2)
	same(t, records(t, tail, 2), want)
	r.must(r.split(name, firstShard, middle))
	late := r.subscribe(r.consumer(name, "late"), firstShard, types.ShardIteratorTypeTrimHorizon)
	same(t, records(t, late, 2), want)
	for who, s := range map[string]*kinesis.SubscribeToShardEventStream{"tail": tail, "late": late} {
		last := next(t, s)
		for last.ContinuationSequenceNumber != nil { // a sign of life
			last = next(t, s)
		}
		if len(last.ChildShards) != 2 || last.ChildShards[0].ParentShards[0] != firstShard || len(last.Records) != 0 {
			t.Errorf("%s ends with %+v", who, last)
		}
		if e := next(t, s); e != nil || s.Err() != nil {
			t.Errorf("behind the end %s has %+v, %v", who, e, s.Err())
		}
	}
}

// TestReshardUnderLoad puts and reads while shards are split and merged: each key's records come in order, each once, parents before
// children.
func TestReshardUnderLoad(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 2)
	st := ok(r.store.Stream(name))(t)
	const keys, each = 8, 200
	var producers sync.WaitGroup
	for k := range keys {
		producers.Go(func() {
			for i := range each {
				if _, err := st.Put(r.ctx, []record.Record{{Key: []byte(fmt.Sprint("k", k)), Data: []byte(fmt.Sprint(i))}}, nil); err != nil {
					t.Errorf("put: %v", err)
					return
				}
			}
		})
	}
	r.must(r.split(name, firstShard, "85070591730234615865843651857942052864"))
	r.must(r.merge(name, shardName(3), shardName(1)))
	r.must(r.split(name, shardName(2), "42535295865117307932921825928971026432"))
	producers.Wait()
	seen := map[string]int{}
	read := func(shard string) {
		for it := r.iterator(name, shard); it != nil; {
			out := ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: it}))(t)
			for _, rec := range out.Records {
				if string(rec.Data) != fmt.Sprint(seen[*rec.PartitionKey]) {
					t.Fatalf("%s of %s comes in %s where %d was due", rec.Data, *rec.PartitionKey, shard, seen[*rec.PartitionKey])
				}
				seen[*rec.PartitionKey]++
			}
			if len(out.Records) == 0 && out.NextShardIterator != nil {
				break
			}
			it = out.NextShardIterator
		}
	}
	for _, s := range ok(r.ListShards(r.ctx, &kinesis.ListShardsInput{StreamName: &name}))(t).Shards {
		read(*s.ShardId) // parents have lower numbers than their children
	}
	for k := range keys {
		if got := seen[fmt.Sprint("k", k)]; got != each {
			t.Errorf("%d of %d records of key %d were read", got, each, k)
		}
	}
}
