package tidegate.peers;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** Watches of one partition into sequences, transitions and their counts; both stores are kept by partition. */
final class SuccessorCounter implements Processor<String, byte[], Void, Void> {
    static final String SEQUENCES = "sequences";
    static final String COUNTS = "counts";
    private static final double POSITIVE = 0.5;
    private static final ObjectReader WATCHES = new ObjectMapper().readerFor(Watch.class);

    private final Meter meter;
    private KeyValueStore<String, Sequence> sequences;
    private KeyValueStore<String, Long> counts;

    SuccessorCounter(Meter meter) {
        this.meter = meter;
    }

    @Override
    public void init(ProcessorContext<Void, Void> context) {
        sequences = context.getStateStore(SEQUENCES);
        counts = context.getStateStore(COUNTS);
    }

    @Override
    public void process(Record<String, byte[]> record) {
        Watch watch = read(record.value());
        if (watch.engagement() >= POSITIVE) {
            count(watch);
        }
        meter.advance();
    }

    private void count(Watch watch) {
        Sequence sequence = sequences.get(watch.user());
        String transition = null;
        if (sequence == null || sequence.isOver(watch.timestamp())) {
            sequence = Sequence.startingWith(watch);
        } else {
            transition = sequence.extend(watch);
        }
        sequences.put(watch.user(), sequence);
        if (transition != null) {
            Long before = counts.get(transition);
            counts.put(transition, before == null ? 1 : before + 1);
        }
    }

    private static Watch read(byte[] json) {
        try {
            return WATCHES.readValue(json);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
