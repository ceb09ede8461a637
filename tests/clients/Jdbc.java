// pgjdbc: server-side statements, batches, generated keys, cursors, COPY, savepoints, large objects. Where to is in PG* variables.

import java.io.StringReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

public class Jdbc {
    public static void main(String[] arguments) throws Exception {
        for (String mode : new String[] {"extended", "simple", "extendedForPrepared", "extendedCacheEverything"}) {
            try (Connection connection = connect(mode)) {
                schema(connection);
                keysAndBatches(connection);
                transactions(connection);
                cursors(connection);
                copies(connection);
                largeObjects(connection);
            }
        }
        try (Connection connection = connect("extended")) {
            cancels(connection);
        }
    }

    static Connection connect(String mode) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        properties.setProperty("prepareThreshold", "2");
        properties.setProperty("preferQueryMode", mode);
        properties.setProperty("reWriteBatchedInserts", String.valueOf(mode.equals("extendedForPrepared")));
        String place = System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        return DriverManager.getConnection("jdbc:postgresql://" + place, properties);
    }

    static void schema(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("DROP TABLE IF EXISTS line; DROP TABLE IF EXISTS bill");
            statement.execute("CREATE TABLE bill (id serial PRIMARY KEY, name text, at timestamptz DEFAULT now())");
            statement.execute("CREATE TABLE line (bill int REFERENCES bill ON DELETE CASCADE, n int, amount numeric,"
                    + " PRIMARY KEY (bill, n))");
        }
    }

    static void keysAndBatches(Connection connection) throws SQLException {
        String insert = "INSERT INTO bill (name) VALUES (?)";
        try (PreparedStatement bill = connection.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS);
                PreparedStatement line = connection.prepareStatement("INSERT INTO line VALUES (?, ?, ?)")) {
            for (int number = 1; number <= 5; number++) {
                bill.setString(1, "bill " + number);
                check(bill.executeUpdate() == 1, "one bill");
                try (ResultSet keys = bill.getGeneratedKeys()) {
                    check(keys.next() && keys.getInt("id") == number, "its key");
                }
                for (int n = 0; n < 20; n++) {
                    line.setInt(1, number);
                    line.setInt(2, n);
                    line.setBigDecimal(3, java.math.BigDecimal.valueOf(n, 2));
                    line.addBatch();
                }
                check(line.executeBatch().length == 20, "twenty lines");
            }
        }
    }

    static void transactions(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.executeUpdate("UPDATE line SET amount = amount + 1 WHERE n < 10");
            Savepoint savepoint = connection.setSavepoint();
            try {
                statement.executeUpdate("INSERT INTO bill (id) VALUES (1)");
                throw new AssertionError("no unique violation");
            } catch (SQLException error) {
                check(error.getSQLState().equals("23505"), error.getSQLState());
            }
            connection.rollback(savepoint);
            statement.executeUpdate("DELETE FROM bill WHERE id = 5");
            connection.commit();
            statement.executeUpdate("DELETE FROM bill");
            connection.rollback();
        }
        connection.setAutoCommit(true);
        check(count(connection, "line") == 80, "the cascade");
    }

    static void cursors(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (PreparedStatement statement = connection.prepareStatement("SELECT * FROM line ORDER BY bill, n")) {
            statement.setFetchSize(7);
            int rows = 0;
            try (ResultSet result = statement.executeQuery()) {
                while (result.next()) {
                    rows++;
                }
            }
            check(rows == 80, "rows by sevens");
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    static void copies(Connection connection) throws Exception {
        StringReader rows = new StringReader("1\t100\t5\n1\t101\t6\n");
        long copied = connection.unwrap(PGConnection.class).getCopyAPI().copyIn("COPY line FROM STDIN", rows);
        check(copied == 2 && count(connection, "line") == 82, "two rows");
    }

    static void largeObjects(Connection connection) throws Exception {
        connection.setAutoCommit(false);
        LargeObjectManager objects = connection.unwrap(PGConnection.class).getLargeObjectAPI();
        byte[] contents = new byte[50_000];
        new java.util.Random(1).nextBytes(contents);
        long made = objects.createLO(LargeObjectManager.READWRITE);
        try (LargeObject object = objects.open(made, LargeObjectManager.WRITE)) {
            object.write(contents);
            object.seek(10);
            object.write(new byte[] {1, 2, 3});
            object.truncate(40_000);
        }
        connection.commit();
        try (LargeObject object = objects.open(made)) {
            check(object.size() == 40_000 && object.read(13)[12] == 3, "what was written");
        }
        connection.commit();
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE TABLE IF NOT EXISTS file (id bigserial PRIMARY KEY, data oid)");
        }
        connection.commit();
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO file (data) VALUES (?)")) {
            insert.setBlob(1, new java.io.ByteArrayInputStream(contents));
            check(insert.executeUpdate() == 1, "one file");
        }
        connection.commit();
        try (Statement statement = connection.createStatement();
                ResultSet files = statement.executeQuery("SELECT data FROM file ORDER BY id DESC LIMIT 1")) {
            check(files.next() && files.getBlob(1).length() == contents.length, "the file's length");
        }
        objects.delete(made);
        connection.rollback();
        objects.delete(made);
        connection.commit();
        connection.setAutoCommit(true);
    }

    static void cancels(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            statement.execute("SELECT pg_sleep(60)");
            throw new AssertionError("not cancelled");
        } catch (SQLException error) {
            check(error.getSQLState().equals("57014"), error.getSQLState());
        }
    }

    static int count(Connection connection, String table) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet result = statement.executeQuery("SELECT count(*) FROM " + table)) {
            result.next();
            return result.getInt(1);
        }
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
