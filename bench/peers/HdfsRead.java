import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/**
 * Reads every file of a folder on HDFS with Hadoop's own client, checksums verified, and prints what that took:
 * java -cp CONFIGURATION:JARS HdfsRead.java URI PASSES STREAMS. One pass before those that count warms the machine up.
 */
public class HdfsRead {
    public static void main(String[] arguments) throws Exception {
        Path folder = new Path(arguments[0]);
        int passes = Integer.parseInt(arguments[1]);
        ExecutorService streams = Executors.newFixedThreadPool(Integer.parseInt(arguments[2]));
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        try (FileSystem files = FileSystem.get(URI.create(arguments[0]), new Configuration())) {
            pass(files, folder, streams);
            long cpu = system.getProcessCpuTime();
            long start = System.nanoTime();
            long bytes = 0;
            for (int pass = 0; pass < passes; pass++) {
                bytes += pass(files, folder, streams);
            }
            double seconds = (System.nanoTime() - start) / 1e9;
            double cpuSeconds = (system.getProcessCpuTime() - cpu) / 1e9;
            System.out.printf("{\"bytes\": %d, \"seconds\": %.6f, \"cpuSeconds\": %.6f}%n", bytes, seconds, cpuSeconds);
        }
        streams.shutdown();
    }

    private static long pass(FileSystem files, Path folder, ExecutorService streams) throws Exception {
        List<Callable<Long>> reads = new ArrayList<>();
        for (FileStatus file : files.listStatus(folder)) {
            reads.add(() -> read(files, file.getPath()));
        }
        long bytes = 0;
        for (Future<Long> read : streams.invokeAll(reads)) {
            bytes += read.get();
        }
        return bytes;
    }

    private static long read(FileSystem files, Path path) throws Exception {
        byte[] buffer = new byte[1 << 20];
        long bytes = 0;
        try (InputStream stream = files.open(path)) {
            for (int count; (count = stream.read(buffer)) >= 0; ) {
                bytes += count;
            }
        }
        return bytes;
    }
}
