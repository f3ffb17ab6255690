"""Pictures and text to model inputs. Import the modules: this file loads nothing."""
