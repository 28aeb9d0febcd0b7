package tidegate.peers;

import static tidegate.peers.SuccessorCounter.COUNTS;
import static tidegate.peers.SuccessorCounter.SEQUENCES;

import java.nio.file.Path;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams: one processor and two changelogged RocksDB stores, exactly once.
 *
 * <p>{@code SuccessorCounts BOOTSTRAP TOPIC N_MESSAGES FOLDER}. Counts are kept by partition and added up in the end,
 * so that no topic has to be repartitioned.
 */
public final class SuccessorCounts {
    private static final long DEADLINE_SECONDS = 140;

    private SuccessorCounts() {}

    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[3]);
        Meter meter = new Meter(Long.parseLong(args[2]));
        try (KafkaStreams streams = new KafkaStreams(topology(args[1], meter), settings(args[0], folder))) {
            streams.start();
            if (!meter.await(DEADLINE_SECONDS)) {
                throw new IllegalStateException("not all messages came within " + DEADLINE_SECONDS + " s");
            }
            meter.write(folder);
            Answers.write(folder, streams.store(
                    StoreQueryParameters.fromNameAndType(COUNTS, QueryableStoreTypes.<String, Long>keyValueStore())));
        }
    }

    private static Topology topology(String topic, Meter meter) {
        // Record caches are left off, as they are by default: with this many keys they cost more than they save.
        var sequences = Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(SEQUENCES), Serdes.String(), Sequence.SERDE);
        var counts = Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(COUNTS), Serdes.String(), Serdes.Long());
        return new Topology()
                .addSource("watches", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), topic)
                .addProcessor("successors", () -> new SuccessorCounter(meter), "watches")
                .addStateStore(sequences, "successors")
                .addStateStore(counts, "successors");
    }

    private static Properties settings(String bootstrap, Path folder) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "kstreams-" + folder.getFileName());
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, folder.resolve("state").toString());
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Runtime.getRuntime().availableProcessors());
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        return settings;
    }
}
