package tidegate.peers;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/** Wall and CPU time of this process between two of its records; the twin of bench/peers/meter.py. */
final class Meter {
    /** More than for the others: the compiler works for most of a minute. */
    private static final double WARM_UP_SHARE = 0.5;
    private static final OperatingSystemMXBean SYSTEM =
            ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);

    private final long all;
    private final long first;
    private final AtomicLong done = new AtomicLong();
    private final CountDownLatch isDone = new CountDownLatch(1);
    private volatile long[] started;
    private volatile long[] ended;

    Meter(long all) {
        this.all = all;
        this.first = (long) Math.ceil(all * WARM_UP_SHARE);
    }

    /** Tells that one more message is processed, by any thread. */
    void advance() {
        long n = done.incrementAndGet();
        if (n == first) {
            started = now();
        }
        if (n == all) {
            ended = now();
            isDone.countDown();
        }
    }

    /** Waits for the last message; returns whether it came. */
    boolean await(long seconds) throws InterruptedException {
        return isDone.await(seconds, TimeUnit.SECONDS);
    }

    void write(Path folder) throws IOException {
        double wall = (ended[0] - started[0]) / 1e9;
        double cpu = (ended[1] - started[1]) / 1e9;
        String figures = "{\"messages\": %d, \"wall_seconds\": %.6f, \"cpu_seconds\": %.6f}";
        Files.writeString(folder.resolve("figures.json"), String.format(Locale.ROOT, figures, all - first, wall, cpu));
    }

    private static long[] now() {
        return new long[] {System.nanoTime(), SYSTEM.getProcessCpuTime()};
    }
}
