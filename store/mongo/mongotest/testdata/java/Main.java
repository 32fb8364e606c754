import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.net.InetSocketAddress;
import java.util.List;

/** A MongoDB in memory that is not ours. It prints its port, and ends when its input does. */
public class Main {
    /** The versions that it has of itself end at wire version 8; the store wants that of 4.4. */
    static final MongoVersion VERSION = new MongoVersion() {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(4, 4, 0);
        }

        @Override
        public int getWireVersion() {
            return 9;
        }
    };

    public static void main(String[] arguments) throws Exception {
        MongoServer server = new MongoServer(new MemoryBackend().version(VERSION));
        InetSocketAddress address = server.bind();
        System.out.println(address.getPort());
        System.out.flush();
        while (System.in.read() >= 0) {
        }
        server.shutdownNow();
    }
}
