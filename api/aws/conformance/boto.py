"""boto3, and the AWS CLI where it is there, against a host: ENDPOINT MODULE, a function that was written for Lambda.

Each function is a check; the last line is "N passed, N failed"."""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
import urllib.request
import uuid
import zipfile

import boto3
from botocore.config import Config

endpoint = sys.argv[1]
module = open(sys.argv[2], "rb").read()


def client(service):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        verify=False,
        config=Config(retries={"max_attempts": 1}, read_timeout=30),
    )


kinesis, lambdas = client("kinesis"), client("lambda")


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


role = "arn:aws:iam::000000000000:role/lambda"


def function():
    """Makes the function of a zip and returns its name."""
    name = "boto-" + uuid.uuid4().hex[:8]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("main.wasm", module)
    made = lambdas.create_function(
        FunctionName=name, Role=role, Code={"ZipFile": code.getvalue()}, Runtime="provided.al2023", Handler="bootstrap", Timeout=10, MemorySize=256, Tags={"team": "red"}
    )
    assert made["CodeSha256"] == base64.b64encode(hashlib.sha256(code.getvalue()).digest()).decode(), made
    lambdas.get_waiter("function_active_v2").wait(FunctionName=name)
    return name


def functions():
    name = function()
    got = lambdas.get_function(FunctionName=name)
    assert got["Configuration"]["State"] == "Active" and got["Tags"] == {"team": "red"}, got
    if not endpoint.startswith("https:"):
        assert urllib.request.urlopen(got["Code"]["Location"]).read() == module
    event = {"Records": [], "state": {"m": json.dumps({"merchant": "m", "payments": 1, "cents": 5})}}
    answer = lambdas.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
    assert answer["StatusCode"] == 200 and json.loads(json.load(answer["Payload"])["state"]["m"])["cents"] == 5, answer
    assert b"START RequestId" in base64.b64decode(answer["LogResult"])
    answer = lambdas.invoke(FunctionName=name, Payload=b'{"state":7}')
    assert answer["FunctionError"] == "Unhandled" and json.load(answer["Payload"])["errorType"] == "UnmarshalTypeError"
    assert lambdas.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204
    assert lambdas.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")["StatusCode"] == 202
    lambdas.update_function_configuration(FunctionName=name, Description="new", Timeout=11)
    lambdas.get_waiter("function_updated_v2").wait(FunctionName=name)
    lambdas.update_function_code(FunctionName=name, ZipFile=module)
    lambdas.get_waiter("function_updated_v2").wait(FunctionName=name)
    version = lambdas.publish_version(FunctionName=name)["Version"]
    lambdas.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    assert lambdas.invoke(FunctionName=name, Qualifier="live", Payload=b"{}")["ExecutedVersion"] == version
    assert [v["Version"] for v in lambdas.list_versions_by_function(FunctionName=name)["Versions"]] == ["$LATEST", version]
    lambdas.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5)
    lambdas.add_permission(FunctionName=name, StatementId="s", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
    json.loads(lambdas.get_policy(FunctionName=name)["Policy"])
    lambdas.get_function_code_signing_config(FunctionName=name)
    assert name in [f["FunctionName"] for page in lambdas.get_paginator("list_functions").paginate() for f in page["Functions"]]
    lambdas.delete_function(FunctionName=name)
    try:
        lambdas.get_function(FunctionName=name)
    except lambdas.exceptions.ResourceNotFoundException as e:
        assert e.response["Error"]["Message"].endswith(":function:" + name), e
    else:
        raise AssertionError("it is still there")


def mappings():
    name, source = function(), arn(stream())
    made = lambdas.create_event_source_mapping(
        EventSourceArn=source,
        FunctionName=name,
        StartingPosition="TRIM_HORIZON",
        BatchSize=10,
        MaximumRetryAttempts=2,
        TumblingWindowInSeconds=1,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        FilterCriteria={"Filters": [{"Pattern": '{"partitionKey":["k"]}'}]},
        Tags={"team": "red"},
    )
    assert made["State"] == "Creating" and made["ResponseMetadata"]["HTTPStatusCode"] == 202, made
    id = made["UUID"]
    assert lambdas.get_event_source_mapping(UUID=id)["State"] == "Enabled"
    kinesis.put_record(StreamName=source.rsplit("/", 1)[1], Data=b'{"merchant":"m","cents":5}', PartitionKey="k")
    for _ in range(100):
        result = lambdas.get_event_source_mapping(UUID=id)["LastProcessingResult"]
        if result != "No records processed":
            break
        time.sleep(0.1)
    assert result == "OK", result
    assert lambdas.list_tags(Resource=made["EventSourceMappingArn"])["Tags"] == {"team": "red"}
    try:
        lambdas.create_event_source_mapping(EventSourceArn=source, FunctionName=name, StartingPosition="LATEST")
    except lambdas.exceptions.ResourceConflictException as e:
        assert id in str(e), e
    else:
        raise AssertionError("it was made twice")
    assert lambdas.update_event_source_mapping(UUID=id, Enabled=False)["State"] == "Disabling"
    assert lambdas.get_event_source_mapping(UUID=id)["State"] == "Disabled"
    assert [m["UUID"] for m in lambdas.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]] == [id]
    assert lambdas.delete_event_source_mapping(UUID=id)["State"] == "Deleting"
    try:
        lambdas.get_event_source_mapping(UUID=id)
    except lambdas.exceptions.ResourceNotFoundException as e:
        assert e.response["Error"]["Message"] == "The resource you requested does not exist.", e
    else:
        raise AssertionError("it is still there")


def cli():
    """Some releases of the CLI put a slash behind paths."""
    if shutil.which("aws") is None:
        print("skip cli: there is no aws on the PATH")
        return
    environment = dict(os.environ, AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any", AWS_DEFAULT_REGION="us-east-1")
    name = function()

    def aws(*words):
        run = subprocess.run(
            ["aws", "--endpoint-url", endpoint, "--no-verify-ssl", "--output", "json", "lambda", *words], env=environment, capture_output=True, text=True, timeout=60
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout) if run.stdout else None

    assert name in [f["FunctionName"] for f in aws("list-functions")["Functions"]]
    made = aws(
        "create-event-source-mapping", "--event-source-arn", arn(stream()), "--function-name", name, "--starting-position", "TRIM_HORIZON",
        "--filter-criteria", '{"Filters":[{"Pattern":"{\\"partitionKey\\":[\\"k\\"]}"}]}', "--function-response-types", "ReportBatchItemFailures",
    )
    assert made["State"] == "Creating", made
    id = ["--uuid", made["UUID"]]
    assert aws("update-event-source-mapping", *id, "--no-enabled", "--filter-criteria", "{}", "--batch-size", "7")["State"] == "Disabling"
    got = aws("get-event-source-mapping", *id)
    assert got["State"] == "Disabled" and got["BatchSize"] == 7 and "FilterCriteria" not in got, got
    assert [m["UUID"] for m in aws("list-event-source-mappings", "--function-name", name)["EventSourceMappings"]] == [made["UUID"]]
    assert aws("delete-event-source-mapping", *id)["State"] == "Deleting"
    assert aws("get-function", "--function-name", name)["Configuration"]["FunctionName"] == name
    assert aws("invoke", "--function-name", name, "/dev/null")["StatusCode"] == 200
    aws("delete-function", "--function-name", name)


failed = 0
checks = [put_and_get, split_and_merge, consumers, settings, errors, functions, mappings, cli]
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
