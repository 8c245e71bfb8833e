// mongo-java-server in memory, on a free loopback port; prints its address as the first line and runs until it is ended.

import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;

public class MongodbServer {
  /**
   * What the server calls itself. Its own newest, 4.0 (wire version 7), is refused by Parse Server's driver, which
   * wants 4.2 (wire version 8) or newer; of what 4.2 added, Parse Server uses nothing that this server lacks.
   */
  private static final MongoVersion VERSION =
      new MongoVersion() {
        @Override
        public List<Integer> getVersionArray() {
          return List.of(4, 2, 0);
        }

        @Override
        public int getWireVersion() {
          return 8;
        }
      };

  /**
   * One message at a time, and answers that no later message changes: the server sorts and sends the documents that it
   * stores, and a write in the meantime ends in "Comparison method violates its general contract".
   */
  private static final class OneAtATime extends MemoryBackend {
    @Override
    public synchronized Document handleMessage(MongoMessage message) {
      return super.handleMessage(message).cloneDeeply();
    }
  }

  public static void main(String[] arguments) throws InterruptedException {
    MongoServer server = new MongoServer(new OneAtATime().version(VERSION));
    server.bind("127.0.0.1", 0);
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    System.out.println(server.getConnectionString());
    Thread.currentThread().join();
  }
}
