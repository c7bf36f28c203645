"""MariaDB, and MySQL where its tools and statements are the same."""
