# Four threads, each with its own connection, count in one database: locks have to work through the mount.
import sqlite3
import sys
import threading

path = sys.argv[1]
setup = sqlite3.connect(path)
setup.execute("CREATE TABLE c (n INTEGER)")
setup.execute("INSERT INTO c VALUES (0)")
setup.commit()
setup.close()


def work():
    connection = sqlite3.connect(path, timeout=120, isolation_level=None)
    for _ in range(25):
        connection.execute("BEGIN IMMEDIATE")
        (n,) = connection.execute("SELECT n FROM c").fetchone()
        connection.execute("UPDATE c SET n = ?", (n + 1,))
        connection.execute("COMMIT")
    connection.close()


threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
check = sqlite3.connect(path)
print(check.execute("SELECT n FROM c").fetchone(), check.execute("PRAGMA integrity_check").fetchone())
