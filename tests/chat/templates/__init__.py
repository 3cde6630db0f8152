"""Tests of ``rkllmd/chat/templates``; ``published`` has templates that use what those of published models use."""
