package tidegate.peers;

import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.ReadOnlyKeyValueStore;

/** Writes the counts and each pair's five most frequent successors; the twin of bench/peers/answers.py. */
final class Answers {
    private static final int N_TOP = 5;
    private static final Comparator<Map.Entry<String, Long>> BEST_FIRST =
            Map.Entry.<String, Long>comparingByValue().reversed().thenComparing(Map.Entry.comparingByKey());

    private Answers() {}

    static void write(Path folder, ReadOnlyKeyValueStore<String, Long> counts) throws IOException {
        Map<String, Map<String, Long>> successors = new HashMap<>();
        try (KeyValueIterator<String, Long> all = counts.all();
                BufferedWriter lines = Files.newBufferedWriter(folder.resolve("counts.tsv"))) {
            while (all.hasNext()) {
                KeyValue<String, Long> count = all.next();
                lines.write(count.key.replace('|', '\t') + "\t" + count.value + "\n");
                String triple = count.key.substring(count.key.indexOf('|') + 1);
                int end = triple.lastIndexOf('|');
                successors
                        .computeIfAbsent(triple.substring(0, end), pair -> new HashMap<>(4))
                        .merge(triple.substring(end + 1).intern(), count.value, Long::sum);
            }
        }
        try (BufferedWriter lines = Files.newBufferedWriter(folder.resolve("top.tsv"))) {
            for (Map.Entry<String, Map<String, Long>> pair : successors.entrySet()) {
                lines.write(pair.getKey().replace('|', '\t') + "\t" + best(pair.getValue()) + "\n");
            }
        }
    }

    private static String best(Map<String, Long> totals) {
        return totals.entrySet().stream()
                .sorted(BEST_FIRST)
                .limit(N_TOP)
                .map(Map.Entry::getKey)
                .collect(Collectors.joining(","));
    }
}
