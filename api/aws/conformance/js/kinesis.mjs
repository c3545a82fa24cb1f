// The JavaScript SDK's Kinesis client against a host, over HTTP/2 without TLS as it speaks to http:// by itself: ENDPOINT.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import * as sdk from "@aws-sdk/client-kinesis";

const client = new sdk.KinesisClient({
  endpoint: process.argv[2],
  region: "us-east-1",
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" },
});
const send = (Command, input) => client.send(new Command(input));
const StreamName = "js-" + randomUUID().slice(0, 8);

await send(sdk.CreateStreamCommand, { StreamName, ShardCount: 1 });
await sdk.waitUntilStreamExists({ client, minDelay: 1, maxDelay: 2, maxWaitTime: 10 }, { StreamName });
const records = Array.from({ length: 500 }, (_, i) => ({ Data: Buffer.from(String(i)), PartitionKey: "k" + i }));
const put = await send(sdk.PutRecordsCommand, { StreamName, Records: records });
assert.equal(put.FailedRecordCount, 0);
assert.equal(put.Records.length, 500);

const { ShardIterator } = await send(sdk.GetShardIteratorCommand, {
  StreamName, ShardId: put.Records[0].ShardId, ShardIteratorType: "TRIM_HORIZON",
});
const got = await send(sdk.GetRecordsCommand, { ShardIterator });
assert.deepEqual(got.Records.map((r) => Buffer.from(r.Data).toString()), records.map((r) => r.Data.toString()));
assert.ok(got.Records[0].ApproximateArrivalTimestamp instanceof Date);

const { StreamDescriptionSummary: summary } = await send(sdk.DescribeStreamSummaryCommand, { StreamName });
const { Consumer } = await send(sdk.RegisterStreamConsumerCommand, { StreamARN: summary.StreamARN, ConsumerName: "js" });
const subscription = await send(sdk.SubscribeToShardCommand, {
  ConsumerARN: Consumer.ConsumerARN, ShardId: put.Records[0].ShardId, StartingPosition: { Type: "TRIM_HORIZON" },
});
let seen = 0;
for await (const event of subscription.EventStream) {
  seen += event.SubscribeToShardEvent?.Records.length ?? 0;
  if (seen >= 500) break;
}
assert.equal(seen, 500);

await assert.rejects(send(sdk.DescribeStreamCommand, { StreamName: "nothing-here" }), sdk.ResourceNotFoundException);
await send(sdk.DeleteStreamCommand, { StreamName, EnforceConsumerDeletion: true });
client.destroy();
console.log("1 passed, 0 failed");
process.exit(0);
