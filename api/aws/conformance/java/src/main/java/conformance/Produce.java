package conformance;

import com.google.common.util.concurrent.ListenableFuture;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordResult;

/** Puts records with the Kinesis Producer Library: PORT STREAM FIRST COUNT. Record i has the key "key-(i mod 100)" and the data "i". */
public final class Produce {
    public static void main(String[] args) throws Exception {
        long port = Long.parseLong(args[0]);
        String stream = args[1];
        int first = Integer.parseInt(args[2]);
        int count = Integer.parseInt(args[3]);
        KinesisProducerConfiguration config = new KinesisProducerConfiguration()
                .setCredentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("AKIDEXAMPLE", "secret")))
                .setRegion("us-east-1")
                .setKinesisEndpoint("127.0.0.1")
                .setKinesisPort(port)
                .setVerifyCertificate(false)
                .setMetricsLevel("none")
                .setLogLevel("warning")
                .setRecordTtl(60_000)
                .setRequestTimeout(20_000);
        KinesisProducer producer = new KinesisProducer(config);
        List<ListenableFuture<UserRecordResult>> puts = new ArrayList<>();
        for (int i = first; i < first + count; i++) {
            byte[] data = Integer.toString(i).getBytes(StandardCharsets.UTF_8);
            puts.add(producer.addUserRecord(stream, "key-" + i % 100, ByteBuffer.wrap(data)));
        }
        int failed = 0;
        for (ListenableFuture<UserRecordResult> put : puts) {
            try {
                if (!put.get().isSuccessful()) {
                    failed++;
                }
            } catch (Exception e) {
                if (failed++ == 0) {
                    e.printStackTrace();
                }
            }
        }
        producer.destroy();
        System.out.println("put " + (count - failed) + " failed " + failed);
        System.exit(failed == 0 ? 0 : 1);
    }
}
