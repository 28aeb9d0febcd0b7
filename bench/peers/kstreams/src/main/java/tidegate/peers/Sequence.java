package tidegate.peers;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** A user's open sequence: when they last watched (seconds), and the clusters, each once. */
final class Sequence {
    static final long GAP_SECONDS = 86_400;
    static final long PANE_SECONDS = 86_400;
    static final Serde<Sequence> SERDE = Serdes.serdeFrom((topic, sequence) -> sequence.toBytes(), reader());

    private final List<String> clusters;
    private long lastSeconds;

    private Sequence(long lastSeconds, List<String> clusters) {
        this.lastSeconds = lastSeconds;
        this.clusters = clusters;
    }

    static Sequence startingWith(Watch watch) {
        Sequence fresh = new Sequence(watch.timestamp(), new ArrayList<>());
        fresh.clusters.add(watch.category());
        return fresh;
    }

    boolean isOver(long seconds) {
        return seconds - lastSeconds > GAP_SECONDS;
    }

    /** Adds a watch; returns the transition that it completes, {@code pane|c1|c2|c_next}, or null. */
    String extend(Watch watch) {
        lastSeconds = watch.timestamp();
        if (clusters.contains(watch.category())) {
            return null;
        }
        clusters.add(watch.category());
        int n = clusters.size();
        if (n < 3) {
            return null;
        }
        long pane = Math.floorDiv(watch.timestamp(), PANE_SECONDS);
        return pane + "|" + clusters.get(n - 3) + "|" + clusters.get(n - 2) + "|" + watch.category();
    }

    private byte[] toBytes() {
        return (lastSeconds + "|" + String.join("|", clusters)).getBytes(StandardCharsets.UTF_8);
    }

    private static Deserializer<Sequence> reader() {
        return (topic, bytes) -> {
            if (bytes == null) {
                return null;
            }
            String text = new String(bytes, StandardCharsets.UTF_8);
            List<String> clusters = new ArrayList<>();
            int start = text.indexOf('|');
            long lastSeconds = Long.parseLong(text, 0, start, 10);
            while (start >= 0) {
                int end = text.indexOf('|', start + 1);
                clusters.add(end < 0 ? text.substring(start + 1) : text.substring(start + 1, end));
                start = end;
            }
            return new Sequence(lastSeconds, clusters);
        };
    }
}
