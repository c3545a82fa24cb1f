package conformance;

import java.io.FileWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.SdkHttpConfigurationOption;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.utils.AttributeMap;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.StreamIdentifier;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * Reads a stream with the Kinesis Client Library until it is killed: ENDPOINT DYNAMODB STREAM APPLICATION WORKER polling|fanout FILE. Each
 * record becomes a line of FILE, "shard sequenceNumber subSequenceNumber key data", flushed before the checkpoint; a shard's end becomes
 * "end shard".
 */
public final class Consume {
    public static void main(String[] args) throws Exception {
        URI endpoint = URI.create(args[0]);
        URI dynamo = URI.create(args[1]);
        String stream = args[2];
        String application = args[3];
        String worker = args[4];
        boolean fanOut = args[5].equals("fanout");
        Writer out = new FileWriter(args[6], true);

        StaticCredentialsProvider credentials = StaticCredentialsProvider.create(AwsBasicCredentials.create("AKIDEXAMPLE", "secret"));
        AttributeMap trustAll = AttributeMap.builder().put(SdkHttpConfigurationOption.TRUST_ALL_CERTIFICATES, true).build();
        KinesisAsyncClient kinesis = KinesisAsyncClient.builder().region(Region.US_EAST_1).endpointOverride(endpoint)
                .credentialsProvider(credentials)
                .httpClient(NettyNioAsyncHttpClient.builder().maxConcurrency(1000).protocol(Protocol.HTTP2).buildWithDefaults(trustAll))
                .build();
        DynamoDbAsyncClient leases = DynamoDbAsyncClient.builder().region(Region.US_EAST_1).endpointOverride(dynamo)
                .credentialsProvider(credentials).build();
        CloudWatchAsyncClient unused = CloudWatchAsyncClient.builder().region(Region.US_EAST_1)
                .endpointOverride(URI.create("http://127.0.0.1:9")).credentialsProvider(credentials).build();

        SingleStreamTracker tracker = new SingleStreamTracker(StreamIdentifier.singleStreamInstance(stream),
                InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON));
        ConfigsBuilder configs = new ConfigsBuilder(tracker, application, kinesis, leases, unused, worker, () -> new Printer(out));
        var leaseConfig = configs.leaseManagementConfig().failoverTimeMillis(3000).shardSyncIntervalMillis(3000);
        leaseConfig.workerUtilizationAwareAssignmentConfig().disableWorkerMetrics(true);
        Scheduler scheduler = new Scheduler(
                configs.checkpointConfig(),
                configs.coordinatorConfig().parentShardPollIntervalMillis(500).shardConsumerDispatchPollIntervalMillis(200),
                leaseConfig,
                configs.lifecycleConfig(),
                configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
                configs.processorConfig(),
                configs.retrievalConfig().retrievalSpecificConfig(fanOut
                        ? new FanOutConfig(kinesis).streamName(stream).applicationName(application)
                        : new PollingConfig(stream, kinesis).idleTimeBetweenReadsInMillis(200)));
        scheduler.run();
    }

    /** Writes what it gets, and checkpoints behind it. */
    private static final class Printer implements ShardRecordProcessor {
        private final Writer out;
        private String shard;

        Printer(Writer out) {
            this.out = out;
        }

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            StringBuilder lines = new StringBuilder();
            for (KinesisClientRecord r : input.records()) {
                lines.append(shard).append(' ').append(r.sequenceNumber()).append(' ').append(r.subSequenceNumber()).append(' ')
                        .append(r.partitionKey()).append(' ').append(StandardCharsets.UTF_8.decode(r.data().duplicate())).append('\n');
            }
            write(lines.toString());
            try {
                input.checkpointer().checkpoint();
            } catch (InvalidStateException | ShutdownException e) {
                System.err.println("checkpoint of " + shard + ": " + e);
            }
        }

        @Override
        public void leaseLost(LeaseLostInput input) {
        }

        @Override
        public void shardEnded(ShardEndedInput input) {
            write("end " + shard + "\n");
            try {
                input.checkpointer().checkpoint();
            } catch (InvalidStateException | ShutdownException e) {
                System.err.println("checkpoint of the end of " + shard + ": " + e);
            }
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
        }

        private void write(String lines) {
            synchronized (out) {
                try {
                    out.write(lines);
                    out.flush();
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }
        }
    }
}
