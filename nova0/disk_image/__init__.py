"""Files of disk images: looked into, and handed to programs, under limits. Both wings use it; nothing of servers,
stores or hypervisors may enter."""
