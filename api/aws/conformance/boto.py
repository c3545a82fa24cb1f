"""boto3 against a host: ENDPOINT. Each function is a check; the last line is "N passed, N failed"."""

import sys
import time
import traceback
import uuid

import boto3
from botocore.config import Config

endpoint = sys.argv[1]
kinesis = boto3.client(
    "kinesis",
    endpoint_url=endpoint,
    region_name="us-east-1",
    aws_access_key_id="AKIDEXAMPLE",
    aws_secret_access_key="secret",
    verify=False,
    config=Config(retries={"max_attempts": 1}, read_timeout=30),
)


def stream(shards=1):
    name = "boto-" + uuid.uuid4().hex[:8]
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 5})
    return name


def arn(name):
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]


def drain(name, shard, **start):
    """Reads a shard from a position until it is at its tail or its end."""
    iterator = kinesis.get_shard_iterator(StreamName=name, ShardId=shard, **start)["ShardIterator"]
    records = []
    while iterator:
        answer = kinesis.get_records(ShardIterator=iterator, Limit=100)
        records += answer["Records"]
        if not answer["Records"] and answer["MillisBehindLatest"] == 0:
            return records, answer
        iterator = answer.get("NextShardIterator")
    return records, answer


def put_and_get():
    name = stream()
    one = kinesis.put_record(StreamName=name, Data=b"\x00\xff", PartitionKey="k")
    assert one["ShardId"] == "shardId-000000000000", one
    many = kinesis.put_records(StreamName=name, Records=[{"Data": bytes([i]), "PartitionKey": f"k{i}"} for i in range(250)])
    assert many["FailedRecordCount"] == 0 and len(many["Records"]) == 250, many
    numbers = [int(one["SequenceNumber"])] + [int(r["SequenceNumber"]) for r in many["Records"]]
    assert numbers == sorted(set(numbers))
    records, _ = drain(name, one["ShardId"], ShardIteratorType="TRIM_HORIZON")
    assert [int(r["SequenceNumber"]) for r in records] == numbers
    assert [r["Data"] for r in records] == [b"\x00\xff"] + [bytes([i]) for i in range(250)]
    assert records[0]["PartitionKey"] == "k"
    assert abs(records[0]["ApproximateArrivalTimestamp"].timestamp() - time.time()) < 60
    after, _ = drain(name, one["ShardId"], ShardIteratorType="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=str(numbers[9]))
    assert len(after) == 241
    at, _ = drain(name, one["ShardId"], ShardIteratorType="AT_SEQUENCE_NUMBER", StartingSequenceNumber=str(numbers[9]))
    assert len(at) == 242
    timed, _ = drain(name, one["ShardId"], ShardIteratorType="AT_TIMESTAMP", Timestamp=records[0]["ApproximateArrivalTimestamp"])
    assert len(timed) == 251, len(timed)
    latest, _ = drain(name, one["ShardId"], ShardIteratorType="LATEST")
    assert latest == []
    kinesis.delete_stream(StreamName=name)
    kinesis.get_waiter("stream_not_exists").wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 5})


def split_and_merge():
    name = stream()
    kinesis.put_record(StreamName=name, Data=b"before", PartitionKey="k")
    kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 5})
    shards = kinesis.list_shards(StreamName=name)["Shards"]
    assert [s["ShardId"] for s in shards] == [f"shardId-{i:012d}" for i in range(3)], shards
    assert "EndingSequenceNumber" in shards[0]["SequenceNumberRange"]
    assert all(s["ParentShardId"] == shards[0]["ShardId"] for s in shards[1:])
    after = kinesis.put_record(StreamName=name, Data=b"after", PartitionKey="k")
    records, last = drain(name, shards[0]["ShardId"], ShardIteratorType="TRIM_HORIZON")
    assert [r["Data"] for r in records] == [b"before"] and "NextShardIterator" not in last, last
    assert {c["ShardId"] for c in last["ChildShards"]} == {s["ShardId"] for s in shards[1:]}
    assert int(after["SequenceNumber"]) > int(records[0]["SequenceNumber"])
    kinesis.merge_shards(StreamName=name, ShardToMerge=shards[1]["ShardId"], AdjacentShardToMerge=shards[2]["ShardId"])
    merged = kinesis.list_shards(StreamName=name, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    assert len(merged) == 1 and merged[0]["AdjacentParentShardId"] == shards[2]["ShardId"], merged
    kinesis.update_shard_count(StreamName=name, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 2 and summary["StreamStatus"] == "ACTIVE", summary
    kinesis.delete_stream(StreamName=name)


def consumers():
    name = stream()
    made = kinesis.register_stream_consumer(StreamARN=arn(name), ConsumerName="fan")["Consumer"]
    listed = kinesis.list_stream_consumers(StreamARN=arn(name))["Consumers"]
    assert [c["ConsumerARN"] for c in listed] == [made["ConsumerARN"]]
    kinesis.put_records(StreamName=name, Records=[{"Data": b"%d" % i, "PartitionKey": "k"} for i in range(10)])
    events = kinesis.subscribe_to_shard(
        ConsumerARN=made["ConsumerARN"], ShardId="shardId-000000000000", StartingPosition={"Type": "TRIM_HORIZON"}
    )["EventStream"]
    got = []
    for event in events:
        got += event["SubscribeToShardEvent"]["Records"]
        if len(got) == 10:
            break
        if len(got) > 10:
            raise AssertionError(got)
    events.close()
    assert [r["Data"] for r in got] == [b"%d" % i for i in range(10)]
    try:
        kinesis.delete_stream(StreamName=name)
        raise AssertionError("a stream with consumers was deleted")
    except kinesis.exceptions.ResourceInUseException:
        pass
    kinesis.deregister_stream_consumer(ConsumerARN=made["ConsumerARN"])
    kinesis.delete_stream(StreamName=name, EnforceConsumerDeletion=True)


def settings():
    name = stream()
    kinesis.add_tags_to_stream(StreamName=name, Tags={"team": "mill", "empty": ""})
    tags = kinesis.list_tags_for_stream(StreamName=name)["Tags"]
    assert {t["Key"]: t["Value"] for t in tags} == {"team": "mill", "empty": ""}, tags
    kinesis.remove_tags_from_stream(StreamName=name, TagKeys=["empty"])
    assert len(kinesis.list_tags_for_resource(ResourceARN=arn(name))["Tags"]) == 1
    kinesis.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=24)
    kinesis.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=48)
    kinesis.decrease_stream_retention_period(StreamName=name, RetentionPeriodHours=24)
    kinesis.enable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["ALL"])
    kinesis.start_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    described = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    assert described["EncryptionType"] == "KMS" and described["RetentionPeriodHours"] == 24, described
    kinesis.stop_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    kinesis.describe_limits()
    assert name in [n for page in kinesis.get_paginator("list_streams").paginate() for n in page["StreamNames"]]
    kinesis.delete_stream(StreamName=name)


def errors():
    for error, call in {
        "ResourceNotFoundException": lambda: kinesis.describe_stream(StreamName="nothing-here"),
        "InvalidArgumentException": lambda: kinesis.get_records(ShardIterator="garbage"),
        "ValidationException": lambda: kinesis.create_stream(StreamName="a b", ShardCount=1),
    }.items():
        try:
            call()
        except kinesis.exceptions.ClientError as e:
            assert e.response["Error"]["Code"] == error, e
            assert e.response["Error"]["Message"], e
            assert e.response["ResponseMetadata"]["RequestId"], e
        else:
            raise AssertionError(f"{error} was not raised")


failed = 0
checks = [put_and_get, split_and_merge, consumers, settings, errors]
for check in checks:
    try:
        check()
        print("ok  ", check.__name__)
    except Exception:
        failed += 1
        print("FAIL", check.__name__)
        traceback.print_exc(file=sys.stdout)
print(f"{len(checks) - failed} passed, {failed} failed")
sys.exit(failed > 0)
