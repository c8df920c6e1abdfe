"""A small shop with one of nearly everything a schema can hold, and what somebody does to it at night."""

from typing import Any

SCHEMA = """
CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE DATABASE `we``ird é☃ ../name`;
CREATE TABLE shop.customers (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(80) NOT NULL, balance DECIMAL(20,4) NOT NULL DEFAULT 0, ratio FLOAT, born DATE, note TEXT, UNIQUE KEY (name), CHECK (balance >= 0));
CREATE TABLE shop.orders (id BIGINT PRIMARY KEY AUTO_INCREMENT, customer INT NOT NULL, placed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), total DOUBLE, doc JSON, twice DOUBLE AS (total * 2) PERSISTENT, KEY (customer), CONSTRAINT fk FOREIGN KEY (customer) REFERENCES shop.customers (id) ON DELETE CASCADE);
CREATE TABLE shop.log (at DATETIME(3), text VARCHAR(200)) ENGINE=InnoDB PARTITION BY HASH (DAY(at)) PARTITIONS 4;
CREATE TABLE shop.old_engine (id INT PRIMARY KEY, v BLOB) ENGINE=MyISAM;
CREATE TABLE `we``ird é☃ ../name`.`ta
ble``"'` (`col``umn` INT PRIMARY KEY, b BIT(9), u UUID, z DATE);
CREATE SEQUENCE shop.numbers START WITH 100 INCREMENT BY 5;
CREATE VIEW shop.rich AS SELECT id, name FROM shop.customers WHERE balance > 100;
CREATE VIEW shop.a_first AS SELECT name FROM shop.rich;
CREATE PROCEDURE shop.pay(IN c INT, IN amount DECIMAL(20,4)) UPDATE shop.customers SET balance = balance + amount WHERE id = c;
CREATE FUNCTION shop.double_it(v INT) RETURNS INT DETERMINISTIC RETURN v * 2;
CREATE TRIGGER shop.orders_log AFTER INSERT ON shop.orders FOR EACH ROW INSERT INTO shop.log VALUES (NOW(3), CONCAT('order ', NEW.id));
CREATE EVENT shop.nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM shop.log WHERE at < NOW() - INTERVAL 30 DAY;
CREATE ROLE reader;
GRANT SELECT ON shop.* TO reader;
CREATE USER 'app'@'%' IDENTIFIED BY 'app-secret-1';
GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON shop.* TO 'app'@'%';
GRANT reader TO 'app'@'%';
SET DEFAULT ROLE reader FOR 'app'@'%';
CREATE USER 'leaver'@'%' IDENTIFIED BY 'leaver-secret';
SET GLOBAL wait_timeout = 12345
"""

OOPS = """
DROP TABLE shop.orders;
UPDATE shop.customers SET balance = 0;
CREATE TABLE shop.created_later (id INT PRIMARY KEY);
CREATE DATABASE later;
CREATE TABLE later.t (id INT);
DROP DATABASE `we``ird é☃ ../name`;
DROP VIEW shop.a_first;
ALTER TABLE shop.log ADD COLUMN extra INT;
DROP PROCEDURE shop.pay;
ALTER USER 'app'@'%' IDENTIFIED BY 'changed-by-intruder';
REVOKE DELETE ON shop.* FROM 'app'@'%';
DROP USER 'leaver'@'%';
CREATE USER 'intruder'@'%' IDENTIFIED BY 'x';
GRANT ALL ON *.* TO 'intruder'@'%';
SET GLOBAL wait_timeout = 54321
"""

SERVICE_USER = "tidewind"
SERVICE_PASSWORD = "service-secret-1"


async def build(connection: Any, *, customers: int = 500, orders: int = 3000) -> None:
    """Make the shop and the service's account."""
    async with connection.cursor() as cursor:
        await cursor.execute("SET NAMES utf8mb4")
        await _run(cursor, SCHEMA)
        await cursor.execute("USE shop")
        await cursor.execute(
            "INSERT INTO shop.customers (name, balance, ratio, born, note) "
            "SELECT CONCAT('customer ', seq, ' \\\\ \t é🐙'), seq * 1.5, 1 / seq, "
            "IF(seq % 50 = 0, NULL, '1970-01-01' + INTERVAL seq DAY), REPEAT(CHAR(seq % 128 USING ascii), seq % 40) "
            f"FROM seq_1_to_{customers}"
        )
        await cursor.execute(
            "INSERT INTO shop.orders (customer, total, doc) "
            f"SELECT 1 + seq % {customers}, seq / 7, JSON_OBJECT('n', seq) FROM seq_1_to_{orders}"
        )
        await cursor.execute("INSERT INTO shop.old_engine SELECT seq, UNHEX(SHA1(seq)) FROM seq_1_to_200")
        await cursor.execute("SET sql_mode = ''")
        await cursor.execute(
            "INSERT INTO `we``ird é☃ ../name`.`ta\nble``\"'` "
            "VALUES (1, b'101010101', UUID(), '0000-00-00'), (2, NULL, NULL, '2024-00-00')"
        )
        await cursor.execute("SELECT NEXTVAL(shop.numbers)")
        await cursor.execute("SET sql_mode = DEFAULT")
        await cursor.execute(f"CREATE USER '{SERVICE_USER}'@'%' IDENTIFIED BY '{SERVICE_PASSWORD}'")
        await cursor.execute(f"GRANT ALL ON *.* TO '{SERVICE_USER}'@'%' WITH GRANT OPTION")


async def oops(connection: Any) -> None:
    """What happens in the night."""
    async with connection.cursor() as cursor:
        await cursor.execute("SET NAMES utf8mb4")
        await _run(cursor, OOPS)


async def _run(cursor: Any, script: str) -> None:
    for statement in script.strip().split(";\n"):
        await cursor.execute(statement)
